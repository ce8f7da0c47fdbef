-- What operators change: needs no claim.
-- ARGV: now, what is done, what is expected (`any`, `absent`, or a revision in 8 bytes), then what belongs to it
if unreadable then return unreadable end
expire()
local document = has(S.flags, DOCUMENT) and get('d') or false
local found = document and u64(document, 2) or 0
if ARGV[2] ~= 'unevent' then
  local wanted = ARGV[3]
  if ARGV[2] == 'remove' and not before.known then return {'missing'} end
  if wanted == 'absent' and found ~= 0 or wanted ~= 'absent' and wanted ~= 'any' and (found == 0 or u64(wanted, 1) ~= found) then
    return {'conflict', found}
  end
end
if ARGV[2] == 'check' then return {'ok'} end
local out

if ARGV[2] == 'put' then
  -- The document behind its revision and times, and activate by (8 bytes).
  local revision = math.max(found + 1, now)
  local created = document and document:sub(10, 17) or struct.pack('>I8', now)
  put('d', '\1' .. struct.pack('>I8', revision) .. created .. struct.pack('>I8', now) .. ARGV[4])
  S.flags, S.activate = with(S.flags, DOCUMENT, true), time(ARGV[5], 1)
  H.flags = with(H.flags, REMOVED, false)
  save()
  out = answer()
  out[9], out[10], out[11] = revision, u64(created, 1), document or ''
elseif ARGV[2] == 'remove' then
  -- Perhaps an event's id and value. Events stay, and the term by which late writes are refused.
  local all = redis.call('HGETALL', key)
  for _, session in ipairs({unpack(sessions)}) do remove_session(session.id) end
  for at = 1, #all, 2 do
    if all[at]:sub(1, 2) ~= 'x:' then drop(all[at]) end
  end
  local term = math.max(H.term + 1, now)
  H = {flags = REMOVED, term = term, claims = 0, deadline = ('\0'):rep(8), boot = ('\0'):rep(8), node = '', rest = ''}
  S = {flags = bit.band(S.flags, VOLATILE), due = 0, bare = 0, queue_due = 0, queued = 0, applied = 0, activate = 0, number = 0}
  queue_touched = true
  if ARGV[4] then put('x:' .. ARGV[4], ARGV[5]) end
  save()
  out = answer()
  out[9] = all
else
  -- An event's id.
  if not get('x:' .. ARGV[4]) then return {'ok', now, S.due, S.due, class(), class(), {}, {}} end
  drop('x:' .. ARGV[4])
  queue_touched = true
  save()
  out = answer()
end
return out

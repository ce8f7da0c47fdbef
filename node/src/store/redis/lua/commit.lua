-- ARGV: now, node, boot (8 bytes), term (8 bytes), claims (4 bytes), number of this write, what is known of
-- the pointers (1: new ones were reserved for it, 0: all that were are kept, 2: perhaps not all, 3: they are another's, so
-- nothing is written), then changes: a letter and what belongs to it
if unreadable then return unreadable end
expire()
local term = u64(ARGV[4], 1)
local same = H.node == ARGV[2] and H.boot == ARGV[3]
if H.term > term or (H.term == term and not same) then return refused() end
-- One that lay in a connection that was given up must not undo what was written after it.
local number = tonumber(ARGV[6])
if existed and H.term == term and number < S.number then return {'late'} end
S.number = number
H.claims = math.max(H.claims, (struct.unpack('>I4', ARGV[5])))
H.term, H.node, H.boot = term, ARGV[2], ARGV[3]
H.flags = with(with(H.flags, PASSIVE, false), REMOVED, false)

local head_before = ''
local ids_touched, ids_before = false, {}
local failed

-- A registration or an applied request begins with the version and the id of the registration.
local function id_of(field)
  local value = get(field)
  return value and value:sub(3, 2 + value:byte(2)) or ''
end

local function touch_ids()
  if ids_touched then return end
  ids_touched, ids_before = true, {id_of('r'), id_of('a')}
end

local function set_session(id, value)
  local provisional = has(value:byte(2), PROVISIONAL)
  local alike = 0
  for _, session in ipairs(sessions) do
    if session.id ~= id and has((get('c:' .. session.id) or '\0\0'):byte(2), PROVISIONAL) == provisional then
      alike = alike + 1
    end
  end
  if alike >= 2 then
    failed = {'sessions'}
    return
  end
  touch_sessions()
  local _, session = find_session(id)
  if not session then
    session = {id = id}
    sessions[#sessions + 1] = session
  end
  session.expires = time(value, 35)
  put('c:' .. id, value)
end

local function change_session(id, change)
  local _, session = find_session(id)
  local value = session and get('c:' .. id)
  if not value then return end
  value = change(value, session)
  session.expires = time(value, 35)
  put('c:' .. id, value)
end

local function queue(field, value)
  put(field, value)
  queue_touched = true
end

local function day(at) return at == 0 and -1 or math.floor(at / DAY) end

local changes = {
  -- Registration: id, value
  R = function(id, value)
    touch_ids()
    put('r', value)
    S.flags = with(S.flags, REGISTRATION, true)
    if ARGV[7] ~= '1' and ARGV[7] ~= '3' and id ~= ids_before[1] and id ~= ids_before[2] and id ~= '' then failed = {'reserve'} end
  end,
  r = function()
    touch_ids()
    drop('r')
    S.flags = with(S.flags, REGISTRATION, false)
    for _, field in ipairs(fields('o:')) do drop(field) end
  end,
  -- Applied request: registration's id, until when it counts, value
  A = function(id, untl, value)
    touch_ids()
    put('a', value)
    S.flags, S.applied = with(S.flags, APPLIED, true), time(untl, 1)
    if ARGV[7] ~= '1' and ARGV[7] ~= '3' and id ~= ids_before[1] and id ~= ids_before[2] and id ~= '' then failed = {'reserve'} end
  end,
  O = function(token, value) put('o:' .. token, value) end,
  o = function(token) drop('o:' .. token) end,
  Z = function() for _, field in ipairs(fields('o:')) do drop(field) end end,
  Q = function(id, value) queue('q:' .. id, value) end,
  q = function(id) queue('q:' .. id, false) end,
  X = function(id, value) queue('x:' .. id, value) end,
  -- Address: peer and local as encoded fields of the header's message, whether it finds the device
  D = function(peer, own, by_address)
    if head_before == '' then head_before = stored[1] and not forgotten and stored[1] or '-' end
    local parts = split(H.rest)
    parts[2], parts[3] = peer, own
    H.rest = join(parts, 3)
    H.flags = with(H.flags, BY_ADDRESS, by_address == '1')
  end,
  N = function(node)
    local parts = split(H.rest)
    parts[1] = node
    H.rest = join(parts, 1)
  end,
  L = function(deadline) H.deadline = deadline end,
  S = set_session,
  -- Promote: association, expiry
  P = function(id, expires)
    local value = find_session(id) and get('c:' .. id)
    if not value then return end
    for _, other in ipairs({unpack(sessions)}) do
      local name = other.id ~= id and get('c:' .. other.id)
      if name and name:sub(43, 74) == value:sub(43, 74) then remove_session(other.id) end
    end
    local flags = string.char(with(value:byte(2), PROVISIONAL, false))
    set_session(id, value:sub(1, 1) .. flags .. value:sub(3, 34) .. expires .. value:sub(43))
  end,
  C = function(id)
    touch_sessions()
    change_session(id, function(value)
      return value:sub(1, 1) .. string.char(with(value:byte(2), CLOSED, true)) .. value:sub(3)
    end)
  end,
  c = remove_session,
  -- Marks: association, write mark, read floor, window, heard at and expiry (8 bytes each), whether the answer stays
  M = function(id, numbers, keep)
    local _, session = find_session(id)
    if session and day(session.expires) ~= day(time(numbers, 33)) then touch_sessions() end
    change_session(id, function(value)
      local rest = value:sub(75)
      if keep ~= '1' then
        local parts = split(rest)
        parts[10] = nil
        rest = join(parts)
      end
      return value:sub(1, 2) .. numbers .. value:sub(43, 74) .. rest
    end)
  end,
  -- A session's address: association, peer and local as encoded fields of its message
  E = function(id, peer, own)
    touch_sessions()
    change_session(id, function(value)
      local parts = split(value:sub(75))
      parts[2], parts[3] = peer, own
      return value:sub(1, 74) .. join(parts, 3)
    end)
  end,
  V = function() H.flags = with(H.flags, ACTIVATED, true) end,
  W = function() H.flags = with(H.flags, PASSIVE, true) end,
}
local takes = {R = 2, A = 3, O = 2, o = 1, Q = 2, q = 1, X = 2, D = 3, N = 1, L = 1, S = 2, P = 2, C = 1, c = 1, M = 3, E = 3}

local at = 8
while at <= #ARGV do
  local letter = ARGV[at]
  local count = takes[letter] or 0
  changes[letter](unpack(ARGV, at + 1, at + count))
  if failed then return failed end
  at = at + 1 + count
end
if ARGV[7] == '3' then return {'ok'} end
if ARGV[7] ~= '2' then S.flags = with(S.flags, UNSURE, ARGV[7] == '1') end
save()
if head_before == '' and before.class ~= class() then head_before = head() end
local out = answer()
out[9], out[10] = head_before, head_before ~= '' and head() or ''
out[11] = {}
if ids_touched then
  out[11] = {ids_before[1], ids_before[2], id_of('r'), id_of('a'), has(S.flags, APPLIED) and S.applied or 0}
end
return out

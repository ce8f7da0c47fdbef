-- Heartbeats: KEYS[1], a hash of `incarnation`, `back`, `mark`, `run`, `masters`, `served` and `expires` (when a ready member beat last, and
-- before when nothing expires), and for each member `m`, its boot id (8 bytes) and its
-- node's name: until when it counts (8 bytes), then what it says of itself.
-- ARGV: now or empty, boot (8 bytes) and node, what it says of itself, for how long it counts in ms, a name for the data (8 bytes, and one more if it has seen other data) if
-- it may be given one (8 bytes) or empty, whether it is ready, then, in a Redis Cluster, the processes of all masters
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local ttl = tonumber(ARGV[4])
-- Which process this is, and which history it has.
local function of(section, name)
  local info = redis.pcall('INFO', section)
  return type(info) == 'string' and info:match(name .. ':(%w+)') or ''
end
local run = of('server', 'run_id') .. '/' .. of('replication', 'master_replid')
local known = redis.call('HMGET', KEYS[1], 'incarnation', 'back', 'mark', 'run', 'masters', 'served', 'expires')
local incarnation, back = known[1], tonumber(known[2] or '')
local mark, before = tonumber(known[3] or ''), known[4]
if not incarnation then
  -- Empty, and meant to be. Unless who beats has seen data there, there is nothing that it could have forgotten.
  if ARGV[5] == '' then return {'ok', now, '', now, 0, run} end
  incarnation, back = ARGV[5]:sub(1, 8), #ARGV[5] > 8 and now or 0
elseif before ~= run or not back or not mark or now < mark - ttl then
  back = now
end
-- Another master than all that were known: known for good, so that nodes of different views don't take turns.
local masters, fresh = known[5] or '', false
for at = 7, #ARGV do
  if not (' ' .. masters):find(' ' .. ARGV[at] .. ' ', 1, true) then
    masters, fresh = masters .. ARGV[at] .. ' ', true
  end
end
if fresh then
  if before then back = now end
  redis.call('HSET', KEYS[1], 'masters', masters:sub(-8192))
end
-- Nobody could beat for so long: that counts against nobody.
local gap = 0
if mark and now - mark > ttl / 2 then gap = now - mark end
-- Nobody served devices for so long: as long again they have to say that they are there, an hour at most. A clock that was
-- ahead must not make that more.
local hour = 3600000
local served, expires = math.min(tonumber(known[6] or '') or now, now), tonumber(known[7] or '') or 0
local away = now - served
if away > ttl / 2 then expires = math.max(expires, now + away) end
expires = math.min(expires, now + hour)
if ARGV[6] ~= '' then served = now end
redis.call('HSET', KEYS[1], 'incarnation', incarnation, 'back', string.format('%.0f', back),
  'mark', string.format('%.0f', now), 'run', run,
  'served', string.format('%.0f', served), 'expires', string.format('%.0f', expires),
  'm' .. ARGV[2], struct.pack('>I8', now + ttl) .. ARGV[3])
local out, all = {'ok', now, incarnation, back, expires, run}, redis.call('HGETALL', KEYS[1])
for at = 1, #all, 2 do
  local field, value = all[at], all[at + 1]
  if field:sub(1, 1) == 'm' and #field > 9 then
    local till = (struct.unpack('>I8', value))
    local own = field == 'm' .. ARGV[2]
    if not own and gap > 0 then
      till = till + gap
      redis.call('HSET', KEYS[1], field, struct.pack('>I8', till) .. value:sub(9))
    end
    if till <= now then
      redis.call('HDEL', KEYS[1], field)
    else
      out[#out + 1] = field:sub(2)
      out[#out + 1] = value:sub(9)
    end
  end
end
return out

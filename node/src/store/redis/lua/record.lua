-- A device's record: KEYS[1], a hash, and no other key. Every script on it begins with this part.
--
-- ARGV[1]  Unix milliseconds, or empty: Redis's own clock
--
-- Nothing is written before `save`, so a script that gives up has changed nothing.

local key = KEYS[1]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Tombstones and answers are kept for 247 s, a volatile record is left to Redis a little longer.
local KEPT, SLACK, DAY = 247000, 5000, 86400000
local DOCUMENT, REGISTRATION, APPLIED, VOLATILE = 1, 2, 4, 8
-- Pointers were reserved for it, and its owner has not yet said that they are kept.
local UNSURE = 16
local PASSIVE, ACTIVATED, BY_ADDRESS, REMOVED = 1, 2, 4, 8
local PROVISIONAL, CLOSED = 1, 4
local LAST = 2 ^ 48 - 1

-- Fields as they will be: a value, or false for one that goes; all others are as they are stored.
local written, forgotten = {}, false

local function get(field)
  local value = written[field]
  if value ~= nil then return value end
  if forgotten then return false end
  return redis.call('HGET', key, field)
end

local function put(field, value) written[field] = value end
local function drop(field) written[field] = false end

-- The names of the fields that begin with these two letters, as they will be.
local function fields(letters)
  local found = {}
  if not forgotten then
    for _, field in ipairs(redis.call('HKEYS', key)) do
      if field:sub(1, 2) == letters and written[field] == nil then found[#found + 1] = field end
    end
  end
  for field, value in pairs(written) do
    if value and field:sub(1, 2) == letters then found[#found + 1] = field end
  end
  return found
end

-- A protobuf message as its fields, each still encoded, by number; and back.
local function split(message)
  local parts, at, last = {}, 1, 0
  local function varint()
    local value, unit = 0, 1
    repeat
      local byte = message:byte(at)
      at = at + 1
      value = value + byte % 128 * unit
      unit = unit * 128
    until byte < 128
    return value
  end
  while at <= #message do
    local from = at
    local tag = varint()
    local kind, number = tag % 8, math.floor(tag / 8)
    if kind == 0 then varint()
    elseif kind == 1 then at = at + 8
    elseif kind == 5 then at = at + 4
    else
      local length = varint()
      at = at + length
    end
    parts[number] = (parts[number] or '') .. message:sub(from, at - 1)
    last = math.max(last, number)
  end
  parts.last = last
  return parts
end

local function join(parts, last)
  local out = {}
  for number = 1, math.max(parts.last, last or 0) do
    if parts[number] then out[#out + 1] = parts[number] end
  end
  return table.concat(out)
end

local function u64(bytes, at) return (struct.unpack('>I8', bytes, at)) end
local function time(bytes, at) return math.min(u64(bytes, at), LAST) end
local function earlier(a, b)
  if a == 0 or b == 0 then return math.max(a, b) end
  return math.min(a, b)
end
local function has(flags, flag) return bit.band(flags, flag) ~= 0 end
local function with(flags, flag, on)
  if on then return bit.bor(flags, flag) end
  return bit.band(flags, bit.bnot(flag))
end

-- The header, see header.rs.
local H = {flags = 0, term = 0, claims = 0, deadline = ('\0'):rep(8), boot = ('\0'):rep(8), node = '', rest = ''}
-- What follows from the other fields, so that they need not be read: version (1), flags (1), due (6), bare until (6),
-- due of the queue (6), length of the queue (2), applied until (6), activate by (6), number of the last write (6); for each
-- session its association (8) and its expiry (6).
local S = {flags = 0, due = 0, bare = 0, queue_due = 0, queued = 0, applied = 0, activate = 0, number = 0}
local sessions = {}
-- What a write has to bring in line outside the record.
local before = {known = false, class = -1, due = 0, bare = false, removed = false}
local sessions_before, sessions_touched, queue_touched = nil, false, false
local unreadable

local stored = redis.call('HMGET', key, 'h', 's')
local existed = stored[1] ~= false
if existed then
  local head, state = stored[1], stored[2] or ''
  if head:byte(1) ~= 1 then unreadable = {'unreadable', 'header', head:byte(1) or 0} end
  if state:byte(1) ~= 1 then unreadable = {'unreadable', 'device', state:byte(1) or 0} end
  if not unreadable then
    local _
    _, H.flags, H.term, H.claims = struct.unpack('>BBI8I4', head)
    H.deadline, H.boot = head:sub(15, 22), head:sub(23, 30)
    local node_end = 31 + head:byte(31)
    H.node, H.rest = head:sub(32, node_end), head:sub(node_end + 1)
    _, S.flags, S.due, S.bare, S.queue_due, S.queued, S.applied, S.activate, S.number =
      struct.unpack('>BBI6I6I6I2I6I6I6', state)
    for at = 41, #state - 13, 14 do
      sessions[#sessions + 1] = {id = state:sub(at, at + 7), expires = (struct.unpack('>I6', state, at + 8))}
    end
  end
end

local function is_bare()
  return not has(S.flags, DOCUMENT + REGISTRATION + APPLIED) and S.queued == 0 and #sessions == 0
end

local function class()
  if not existed or has(H.flags, REMOVED) then return -1 end
  return bit.band(S.flags, DOCUMENT + REGISTRATION)
end

-- To be called before sessions change in a way that changes what leads to them.
local function touch_sessions()
  if sessions_touched then return end
  sessions_touched, sessions_before = true, {}
  for _, session in ipairs(sessions) do
    sessions_before[#sessions_before + 1] = session.id
    sessions_before[#sessions_before + 1] = get('c:' .. session.id) or ''
  end
end

local function find_session(id)
  for at, session in ipairs(sessions) do
    if session.id == id then return at, session end
  end
end

local function remove_session(id)
  local at = find_session(id)
  if not at then return end
  touch_sessions()
  table.remove(sessions, at)
  drop('c:' .. id)
end

-- Lets go of what is over: sessions, the answer of a device that left, a record in which nothing is left.
local function expire()
  before.due, before.class = S.due, class()
  local was_bare, over = is_bare(), {}
  for _, session in ipairs(sessions) do
    if session.expires ~= 0 and session.expires <= now then over[#over + 1] = session.id end
  end
  for _, id in ipairs(over) do remove_session(id) end
  if has(S.flags, APPLIED) and not has(S.flags, REGISTRATION) and S.applied <= now then
    drop('a')
    S.flags = with(S.flags, APPLIED, false)
  end
  local bare = is_bare()
  if existed and bare and (not was_bare or S.bare <= now) then
    H = {flags = 0, term = 0, claims = 0, deadline = ('\0'):rep(8), boot = ('\0'):rep(8), node = '', rest = ''}
    S = {flags = 0, due = 0, bare = 0, queue_due = 0, queued = 0, applied = 0, activate = 0, number = 0}
    written, forgotten, existed, bare = {}, true, false, false
  end
  before.known = existed and not has(H.flags, REMOVED)
  before.bare, before.removed = existed and bare, has(H.flags, REMOVED)
end

local function head()
  return struct.pack('>BBI8I4', 1, H.flags, H.term, H.claims) ..
    H.deadline .. H.boot .. string.char(#H.node) .. H.node .. H.rest
end

local function refused() return {'refused', head()} end

local function count_queue()
  S.queued, S.queue_due = 0, 0
  for _, letters in ipairs({'q:', 'x:'}) do
    for _, field in ipairs(fields(letters)) do
      S.queued = S.queued + 1
      S.queue_due = earlier(S.queue_due, time(get(field), 2))
    end
  end
end

-- Writes what was put and dropped, and what follows from it.
local function save()
  existed = true
  if queue_touched then count_queue() end
  S.due = S.queue_due
  if has(S.flags, REGISTRATION) then S.due = earlier(S.due, time(H.deadline, 1)) end
  if not has(H.flags, ACTIVATED) then S.due = earlier(S.due, S.activate) end
  local bare = is_bare()
  if not bare then S.bare = 0
  elseif not before.bare or before.removed ~= has(H.flags, REMOVED) then S.bare = now + KEPT end
  -- A record that nothing keeps goes by itself.
  local ends = math.max(S.bare, has(S.flags, APPLIED) and S.applied or 0)
  for _, session in ipairs(sessions) do
    ends = math.max(ends, session.expires == 0 and LAST or session.expires)
  end
  local volatile = S.queued == 0 and ends ~= LAST and not has(S.flags, DOCUMENT + REGISTRATION)
  local was_volatile = has(S.flags, VOLATILE)
  S.flags = with(S.flags, VOLATILE, volatile)

  local state = {struct.pack('>BBI6I6I6I2I6I6I6', 1, S.flags, S.due, S.bare, S.queue_due, S.queued, S.applied, S.activate, S.number)}
  for _, session in ipairs(sessions) do state[#state + 1] = session.id .. struct.pack('>I6', session.expires) end
  put('h', head())
  put('s', table.concat(state))

  local sets, drops = {}, {}
  for field, value in pairs(written) do
    if value then
      sets[#sets + 1] = field
      sets[#sets + 1] = value
    else
      drops[#drops + 1] = field
    end
  end
  if forgotten then redis.call('DEL', key) end
  for at = 1, #sets, 1000 do redis.call('HSET', key, unpack(sets, at, math.min(at + 999, #sets))) end
  if not forgotten then
    for at = 1, #drops, 1000 do redis.call('HDEL', key, unpack(drops, at, math.min(at + 999, #drops))) end
  end
  if volatile then redis.call('PEXPIRE', key, math.max(ends - now, 0) + SLACK)
  elseif was_volatile and not forgotten then redis.call('PERSIST', key) end
end

local function sessions_now()
  local list = {}
  for _, session in ipairs(sessions) do
    list[#list + 1] = session.id
    list[#list + 1] = get('c:' .. session.id) or ''
  end
  return list
end

-- What every write answers first: what the indexes are told.
local function answer()
  return {'ok', now, before.due, S.due, before.class, class(), sessions_before or {}, sessions_touched and sessions_now() or {}}
end

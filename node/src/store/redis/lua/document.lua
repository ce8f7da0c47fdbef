-- A document: version (1), revision, created at, updated at (8 bytes each), its body.
-- ARGV: now or empty, `put` or `remove`, what is expected (`any`, `absent`, or a revision in 8 bytes), the body
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local stored = redis.call('GET', KEYS[1])
if stored and stored:byte(1) ~= 1 then return {'unreadable', 'document', stored:byte(1) or 0} end
local found = stored and (struct.unpack('>I8', stored, 2)) or 0
local wanted = ARGV[3]
if wanted == 'absent' and found ~= 0
  or wanted ~= 'absent' and wanted ~= 'any' and (found == 0 or (struct.unpack('>I8', wanted)) ~= found) then
  return {'conflict', found}
end
if ARGV[2] == 'remove' then
  redis.call('DEL', KEYS[1])
  return {'ok', math.max(found, now)}
end
local created = stored and stored:sub(10, 17) or struct.pack('>I8', now)
local value = '\1' .. struct.pack('>I8', math.max(found + 1, now)) .. created .. struct.pack('>I8', now) .. ARGV[4]
redis.call('SET', KEYS[1], value)
return {'ok', value}

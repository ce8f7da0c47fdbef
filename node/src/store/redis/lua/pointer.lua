-- A pointer: KEYS[1], whose value is a device's id.
-- ARGV: what is done, the device, then what belongs to it
local holder = redis.call('GET', KEYS[1])
if ARGV[1] == 'reserve' then
  -- For so many milliseconds, until the record that it leads to is written; and who does not hold it any more.
  if holder == ARGV[2] then return {'mine', holder, redis.call('PTTL', KEYS[1])} end
  if holder and holder ~= ARGV[4] then return {'held', holder, redis.call('PTTL', KEYS[1])} end
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return {'reserved'}
elseif ARGV[1] == 'keep' then
  -- For so many milliseconds (0: for good); 1: whoever held it.
  if holder and holder ~= ARGV[2] and ARGV[4] ~= '1' then return {'held', holder} end
  if ARGV[3] == '0' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
  return {'kept'}
end
if holder == ARGV[2] then redis.call('DEL', KEYS[1]) end
return {'free'}

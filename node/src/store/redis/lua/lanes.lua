-- The lanes: KEYS[1], a hash from a lane's number to version (1), the last second that may be opened (4), the holder's boot
-- id (8), its node name.
-- ARGV: now or empty, node, boot (8 bytes), seconds that are granted ahead of the clock, `take` or `extend`, then what
-- belongs to it
local seconds = tonumber(ARGV[1])
if seconds then seconds = math.floor(seconds / 1000) else seconds = tonumber(redis.call('TIME')[1]) end
-- A lane must not have been held for so long.
local REST, LANES, LAST = 60, 4096, 2 ^ 32 - 1
local me = ARGV[3] .. ARGV[2]
local ahead = tonumber(ARGV[4])
local held, all = {}, redis.call('HGETALL', KEYS[1])
for at = 1, #all, 2 do
  local value = all[at + 1]
  if value:byte(1) ~= 1 then return {'unreadable', 'lane', value:byte(1) or 0} end
  held[tonumber(all[at])] = {till = (struct.unpack('>I4', value, 2)), holder = value:sub(6)}
end
local function write(number, till)
  redis.call('HSET', KEYS[1], number, '\1' .. struct.pack('>I4', till) .. me)
end

if ARGV[5] == 'take' then
  -- How many.
  local count, taken = tonumber(ARGV[6]), {}
  for number = 0, LANES - 1 do
    if #taken == count then break end
    local lane = held[number]
    if not lane or lane.till + REST < seconds then
      -- Of one that nobody is known to have had, a holder may have been forgotten, who was granted no more than this.
      local from = math.max(seconds, (lane and lane.till or seconds + ahead) + 1)
      taken[#taken + 1] = {number, from, math.min(from + ahead, LAST)}
    end
  end
  if #taken < count then return {'none'} end
  local out = {'ok'}
  for _, lane in ipairs(taken) do
    write(lane[1], lane[3])
    for _, part in ipairs(lane) do out[#out + 1] = part end
  end
  return out
end

-- The holder's clock, then the lanes that it knows it has and the last second that it was granted of each: one that Redis has
-- forgotten is its own still. Whoever knows of a later second had it last.
local second, mine = tonumber(ARGV[6]), {}
for number, lane in pairs(held) do
  if lane.holder == me then mine[number] = lane.till end
end
for at = 7, #ARGV, 2 do
  local number, till = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  if held[number] and held[number].holder ~= me and held[number].till >= till then return {'lost'} end
  mine[number] = math.max(mine[number] or 0, till)
end
local first = LAST + 1
for number, till in pairs(mine) do
  till = math.min(math.max(till, second + ahead), LAST)
  write(number, till)
  first = math.min(first, till)
end
if first > LAST then return {'lost'} end
return {'ok', first}

-- ARGV: now, node, boot (8 bytes), create (1 or 0), the term that was seen (8 bytes, or empty)
if unreadable then return unreadable end
expire()
if ARGV[4] ~= '1' and not before.known then return {'missing'} end
if ARGV[5] ~= '' and H.term > u64(ARGV[5], 1) then return refused() end
local exact = has(H.flags, PASSIVE) or H.node == ''
H.flags = with(with(H.flags, PASSIVE, false), REMOVED, false)
H.node, H.boot = ARGV[2], ARGV[3]
H.term = math.max(H.term + 1, now)
H.claims = (H.claims + 1) % 2 ^ 32
S.number = 0
save()
local out = answer()
out[9], out[10], out[11] = exact and 1 or 0, has(S.flags, UNSURE) and 1 or 0, redis.call('HGETALL', key)
return out

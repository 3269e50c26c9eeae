--- Ways to choose among servers: each is a function of (those there are to choose from, the time,
--- the pool, a key), which is given at least one.

local balance = {}

--- Each in its turn, spread evenly by weight: the one that has waited longest for its share.
function balance.round_robin(targets, now, pool)
  local total, best = 0, nil
  for _, target in ipairs(targets) do
    local share = target:share(now, pool.slow_start)
    target.due = (target.due or 0) + share
    total = total + share
    if not best or target.due > best.due then
      best = target
    end
  end
  best.due = best.due - total
  return best
end

--- The one with the fewest requests under way for its weight; among equals each in its turn.
function balance.least_connections(targets, now, pool)
  local least, idle = nil, {}
  for _, target in ipairs(targets) do
    local load = (target.load:count() + 1) / target:share(now, pool.slow_start)
    if not least or load < least then
      least, idle = load, { target }
    elseif load == least then
      idle[#idle + 1] = target
    end
  end
  return balance.round_robin(idle, now, pool)
end

local KEY_MAX = 256 -- bytes that are looked at

--- FNV-1a, of 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/).
local function hash(text)
  local h = 0xcbf29ce484222325
  for i = 1, math.min(#text, KEY_MAX) do
    h = (h ~ text:byte(i)) * 0x100000001b3
  end
  return h
end

--- From 64 bits to a number between 0 and 1: the finisher of MurmurHash3, as FNV's high bits say
--- little of its last bytes.
local function fraction(h)
  h = (h ~ (h >> 33)) * 0xff51afd7ed558ccd
  h = (h ~ (h >> 33)) * 0xc4ceb9fe1a85ec53
  h = h ~ (h >> 33)
  return ((h >> 11) + 1) / (2 ^ 53 + 1)
end

--- The same one for the same key, for as long as it is there: when one goes, only its own keys move
--- (rendezvous hashing, weighted by the logarithm method).
function balance.hash(targets, _, _, key)
  local h = hash(key or "")
  local best, score
  for _, target in ipairs(targets) do
    target.seed = target.seed or hash(target.name)
    local s = target.weight / -math.log(fraction(h ~ target.seed))
    if not best or s > score then
      best, score = target, s
    end
  end
  return best
end

return balance

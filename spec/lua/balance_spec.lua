-- Ways to choose among servers, without any servers.
local balance = require("tidegate.upstream.balance")

local POOL = { slow_start = 0 }

local function server(name, weight, load)
  return {
    name = name,
    weight = weight or 1,
    load = { count = function(self) return self.n end, n = load or 0 },
    share = function(self) return self.weight end,
  }
end

local function picks(choose, targets, count, key)
  local names = {}
  for i = 1, count do
    local target = choose(targets, 0, POOL, key and key(i))
    names[i] = target.name
  end
  return names
end

local function counts(names)
  local n = {}
  for _, name in ipairs(names) do n[name] = (n[name] or 0) + 1 end
  return n
end

describe("round_robin", function()
  it("takes each in its turn", function()
    local targets = { server("a"), server("b"), server("c") }
    assert.equal("a b c a b c", table.concat(picks(balance.round_robin, targets, 6), " "))
  end)

  it("spreads by weight, and evenly", function()
    local targets = { server("a", 3), server("b", 1) }
    assert.equal("a a b a a a b a", table.concat(picks(balance.round_robin, targets, 8), " "))
  end)

  it("goes on when one is missing for a while", function()
    local a, b, c = server("a"), server("b"), server("c")
    picks(balance.round_robin, { a, b, c }, 4)
    picks(balance.round_robin, { a, c }, 4)
    assert.same({ a = 10, b = 10, c = 10 }, counts(picks(balance.round_robin, { a, b, c }, 30)))
  end)
end)

describe("least_connections", function()
  it("takes the one with the fewest, for its weight", function()
    assert.same({ "b" }, picks(balance.least_connections, { server("a", 1, 2), server("b", 1, 1) }, 1))
    assert.same({ "a" }, picks(balance.least_connections, { server("a", 4, 5), server("b", 1, 1) }, 1))
  end)

  it("takes equals in their turn", function()
    local names = picks(balance.least_connections, { server("a"), server("b"), server("c", 1, 9) }, 4)
    assert.equal("a b a b", table.concat(names, " "))
  end)
end)

describe("hash", function()
  local function key(i) return "10.0." .. i // 256 .. "." .. i % 256 end

  it("takes the same one for the same key", function()
    local targets = { server("a"), server("b"), server("c") }
    assert.same(picks(balance.hash, targets, 200, key), picks(balance.hash, targets, 200, key))
  end)

  it("spreads keys by weight", function()
    local targets = { server("a", 2), server("b", 1), server("c", 1) }
    local n = counts(picks(balance.hash, targets, 4000, key))
    assert.is_true(math.abs(n.a - 2000) < 200 and math.abs(n.b - 1000) < 200, n.a .. " " .. n.b)
  end)

  it("moves only the keys of one that has gone", function()
    local a, b, c = server("a"), server("b"), server("c")
    local before = picks(balance.hash, { a, b, c }, 500, key)
    local after = picks(balance.hash, { a, c }, 500, key)
    for i, name in ipairs(before) do
      if name ~= "b" then assert.equal(name, after[i]) end
    end
  end)
end)

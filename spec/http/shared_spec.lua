-- tg.shared and tg.limit: what all workers and generations have in common.
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local SCRIPT = [[
local tg = require("tidegate")
local hits = tg.shared("hits")
return {
  routes = {
    { "/eval", post = function(request)
      local run = assert(load("local tg, store = ... " .. request.body:all()))
      return { body = { run(tg, tg.shared("eval", { bytes = 65536 })) } }
    end },
    { "/hit", get = function() return { body = tostring(hits:incr("n")) } end },
    { "/hits", get = function() return { body = tostring(hits:get("n")) } end },
    { "/limited", interceptors = { tg.limit({ rate = 0.5, burst = 3,
        key = function(ctx) return ctx.request.query.who end }) },
      get = function() return { body = "in" } end },
    { "/teapot", interceptors = { tg.limit({ rate = 0.01, key = function() return "all" end,
        on_limited = function(_, seconds) return { status = 418, body = tostring(seconds) } end }) },
      get = function() return { body = "in" } end },
  },
}
]]

describe("tg.shared", function()
  local s

  setup(function() s = server.start({ script = SCRIPT, workers = 2, args = { "--quiet" } }) end)
  teardown(function() s:stop() end)
  before_each(function() raw.request(s.port, "POST /eval HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\nstore:clear()") end)

  local function eval(code)
    local seen = #s:log()
    local response = raw.request(s.port,
      ("POST /eval HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"):format(#code, code))
    if response.status ~= 200 then
      return s:wait_log("unhandled .*", nil, seen + 1)
    end
    return response.body
  end

  it("gives back what was set, of each kind, until it is deleted", function()
    assert.equal('["a\\u0000b",7,7.5,""]', eval([[
      store:set("s", "a\0b") store:set("i", 7) store:set("f", 7.5) store:set("e", "")
      return store:get("s"), store:get("i"), store:get("f"), store:get("e")]]))
    assert.equal('[true,false,"none"]',
      eval('return store:delete("s"), store:delete("s"), store:get("s") or "none"'))
    assert.equal('["integer","float"]', eval('return math.type(store:get("i")), math.type(store:get("f"))'))
    eval('store:set("i", nil)')
    assert.equal('["none"]', eval('return store:get("i") or "none"'))
  end)

  it("keeps long strings whole, and replaces numbers by strings and back", function()
    assert.equal("[40000,true]", eval([[
      local long = ("x"):rep(40000)
      store:set("k", 1) store:set("k", long)
      local same = store:get("k") == long
      local len = #store:get("k")
      store:set("k", 2)
      return len, same and store:get("k") == 2]]))
  end)

  it("adds only where there is nothing, and swaps only what is as expected", function()
    assert.equal('[true,false,1]', eval('return store:add("a", 1), store:add("a", 2), store:get("a")'))
    assert.equal('[false,true,"x",true,"none",true]', eval([[
      return store:cas("a", 2, 3), store:cas("a", 1, "x"), store:get("a"), store:cas("a", "x", nil),
        store:get("a") or "none", store:cas("a", nil, 5)]]))
    assert.equal('[false]', eval('return store:cas("a", 5.0, 6)'))
  end)

  it("increments from nothing, by any number, and stays an integer while it fits", function()
    assert.equal('[1,11,9,9.5,"float"]', eval([[
      return store:incr("n"), store:incr("n", 10), store:incr("n", -2), store:incr("n", 0.5),
        math.type(store:get("n"))]]))
    assert.equal("[true]", eval('store:set("m", math.maxinteger) return store:incr("m") == 2.0^63'))
    assert.matches("is a string, no number", eval('store:set("t", "x") store:incr("t")'))
  end)

  it("lets what has a time to live go, and keeps the time of a counter (B60)", function()
    assert.equal('["x",true,"none","none",true]', eval([[
      store:set("t", "x", 0.05) store:incr("c", 1, 0.05) store:incr("c", 1, 100) store:set("u", 1)
      local before, ttl = store:get("t"), store:ttl("t")
      tg.sleep(0.06)
      return before, ttl > 0 and ttl <= 0.05, store:get("t") or "none", store:get("c") or "none",
        store:ttl("u") == nil and store:ttl("t") == nil]]))
    assert.equal("[true]", eval('store:set("t", 1, 0.01) store:set("t", 2) tg.sleep(0.02) return store:get("t") == 2'))
  end)

  it("drops what was used least recently for what is new, within its bytes", function()
    assert.equal('[true,"kept","none",true,true]', eval([[
      store:set("first", "kept") store:set("second", "dropped")
      for i = 1, 600 do store:get("first") store:set("k" .. i, ("v"):rep(100)) end
      local stats = store:stats()
      return stats.bytes <= 65536 and stats.bytes_max == 65536, store:get("first"),
        store:get("second") or "none", stats.evicted > 100, stats.count == #store:keys()]]))
    assert.matches("larger than the whole store", eval('store:set("big", ("x"):rep(70000))'))
    assert.equal('["kept"]', eval('return store:get("first")'))
  end)

  it("lists keys by prefix, the most recently used first, and no more than asked for", function()
    assert.equal('["a2 a3 a1",2,0]', eval([[
      for _, k in ipairs({ "a1", "a2", "a3", "b1" }) do store:set(k, 1) end
      store:set("old", 1, 0.001)
      store:get("a2")
      tg.sleep(0.005)
      return table.concat(store:keys("a"), " "), #store:keys("", 2), #store:keys("old")]]))
    assert.equal("[true]", eval([[
      local name = ("n"):rep(60)
      for i = 1, 2000 do store:incr(name .. i) end
      return #store:keys(name) > 200 and #store:keys(name) == store:stats().count]]))
  end)

  for what, code in pairs({
    ["an empty key"] = 'store:get("")',
    ["a key that is too long"] = 'store:get(("k"):rep(1025))',
    ["a table as a value"] = 'store:set("k", {})',
    ["a ttl of zero"] = 'store:set("k", 1, 0)',
    ["NaN as a ttl"] = 'store:set("k", 1, 0/0)',
    ["a store without a name"] = 'tg.shared("")',
    ["another object"] = 'store.get(io.stdout, "k")',
  }) do
    it("refuses " .. what, function() assert.matches("unhandled", eval(code)) end)
  end

  it("counts exactly under all workers, and survives reloads (B60)", function()
    local before = tonumber(raw.get(s.port, "/hits").body) or 0
    local check = s.dir .. "/count.lua"
    server.write(check, 'function done(summary) print("RESULT", summary.requests) end')
    -- wrk forgets what is on its way at the end: it is counted, and has no answer.
    local load <close> = assert(harness.spawn({ "wrk", "-t2", "-c8", "-d1s", "-s", check, s.url .. "/hit" },
      { stdout = "pipe", stderr = "pipe" }))
    assert.equal(0, (load:wait(20)))
    local requests = tonumber(load:output("stdout"):match("RESULT%s+(%d+)"))
    local after = tonumber(raw.get(s.port, "/hits").body)
    assert.is_true(requests > 100)
    assert.is_true(after - before >= requests and after - before <= requests + 8,
      ("%d requests, %d counted"):format(requests, after - before))
    s:kill("HUP")
    s:wait_log("reload: .*generation 2")
    assert.equal(tostring(after), raw.get(s.port, "/hits").body)
  end)

  it("increments at least a million times a second on one worker", timed(function()
    if server.sanitized then return end
    local took = tonumber(eval([[
      local began = os.clock()
      for _ = 1, 200000 do store:incr("n") end
      return os.clock() - began]]):match("[%d.e-]+"))
    assert.is_true(took < 0.2, took)
  end))
end)

describe("tg.limit", function()
  local s

  setup(function() s = server.start({ script = SCRIPT, workers = 2, args = { "--quiet" } }) end)
  teardown(function() s:stop() end)

  it("lets a burst in, then answers 429 with Retry-After, for each key and across workers", function()
    for _ = 1, 3 do assert.equal(200, raw.get(s.port, "/limited?who=a").status) end
    local refused = raw.get(s.port, "/limited?who=a")
    assert.equal(429, refused.status)
    local wait = tonumber(refused.headers["retry-after"][1])
    assert.is_true(wait >= 1 and wait <= 2)
    assert.equal(200, raw.get(s.port, "/limited?who=b").status)
    for _ = 1, 9 do assert.equal(200, raw.get(s.port, "/limited").status) end -- no key: not counted
  end)

  it("lets somebody in again when the time has come", function()
    for _ = 1, 3 do raw.get(s.port, "/limited?who=c") end
    assert.equal(429, raw.get(s.port, "/limited?who=c").status)
    server.eventually(function() return raw.get(s.port, "/limited?who=c").status == 200 end, 6)
  end)

  it("answers as the script says, and tells how long to wait", function()
    assert.equal("in", raw.get(s.port, "/teapot").body)
    local refused = raw.get(s.port, "/teapot")
    assert.equal(418, refused.status)
    assert.equal(refused.body, refused.headers["retry-after"][1])
  end)

  it("refuses bad options when the script loads", function()
    for code, message in pairs({
      ["tg.limit()"] = "expected a table",
      ["tg.limit({})"] = "rate: expected a number of more than zero",
      ["tg.limit({ rate = 1, burst = -1 })"] = "burst: expected a number",
      ["tg.limit({ rate = 1, key = 1 })"] = "key: expected a function",
    }) do
      server.write(s.dir .. "/bad.lua", 'local tg = require("tidegate") ' .. code .. " return { routes = {} }")
      local result = server.command({ "check", s.dir .. "/bad.lua" })
      assert.equal(1, result.exit)
      assert.matches(message, result.stderr, 1, true)
    end
  end)
end)

-- A script that eats memory harms its own request.
local raw = require("raw")
local server = require("server")

local SCRIPT = [[
local tg = require("tidegate")
local function eat()
  local all = {}
  for i = 1, 1e9 do all[i] = ("m"):rep(300000) .. i end
end
return {
  limits = { lua_memory = 8 * 2 ^ 20 },
  routes = {
    { "/eat", get = eat },
    { "/eat-in-body", get = function() return { body = function(out) eat() end } end },
    { "/eat-late", get = function() return { body = function(out) out:write("x") out:flush() eat() end } end },
    { "/eat-in-error", get = { { name = "e", error = function() eat() end }, function() error("x") end } },
    { "/fine", get = function() return { body = "fine" } end },
    { "/hold", get = function() tg.wait(function() end) end },
    { "/count", get = function() collectgarbage() return { body = tostring(collectgarbage("count")) } end },
  },
}
]]

describe("limits.lua_memory", function()
  local s

  setup(function() s = server.start({ script = SCRIPT, args = { "--quiet" } }) end)
  teardown(function() s:stop() end)

  local function get(path) return assert(raw.get(s.port, path)) end

  it("makes a 500 of what eats past it, and the next request is fine (B64)", function()
    for _, path in ipairs({ "/eat", "/eat-in-body", "/eat-in-error" }) do
      assert.equal(500, get(path).status)
      assert.equal("fine", get("/fine").body)
    end
    s:wait_log("not enough memory", 2)
  end)

  it("cuts a stream that had begun (B33)", function()
    local response = get("/eat-late")
    assert.equal("x", response.body)
    assert.is_false(response.complete)
    assert.equal("fine", get("/fine").body)
  end)

  it("is not crept up to by exchanges that end in any way (B15)", function()
    local function round()
      for _ = 1, 50 do
        get("/fine")
        get("/nowhere")
        local c = assert(raw.connect(s.port))
        c:send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        get("/fine")
        c:close()
      end
      return tonumber(get("/count").body)
    end
    round()
    local before = round()
    for _ = 1, 5 do round() end
    assert.is_true(round() - before < 20, "Lua's memory grows")
  end)
end)

-- A thousand exchanges wait and nobody else notices.
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local SCRIPT = [[
local tg = require("tidegate")
local waiting, resumes = 0, {}
return {
  limits = { connections = 2000 },
  routes = {
    { "/wait", get = function()
      waiting = waiting + 1
      tg.wait(function(resume) resumes[#resumes + 1] = resume end)
      return { body = "waited" }
    end },
    { "/waiting", get = function() return { body = tostring(waiting) } end },
    { "/release", get = function()
      local first, again = 0, 0
      for _, resume in ipairs(resumes) do
        if resume() then first = first + 1 end
        if resume() then again = again + 1 end
      end
      resumes = {}
      return { body = first .. " " .. again }
    end },
    { "/values", get = function()
      local a, b = tg.wait(function(resume) resume("x", 2) end)
      local none, why = tg.wait(function() end, 0.01)
      return { body = tostring(a) .. tostring(b) .. tostring(none) .. tostring(why) }
    end },
    { "/yield", get = function() coroutine.yield(1) end },
    { "/metamethod", get = function()
      local t = setmetatable({}, { __index = function(_, key) tg.sleep(0.01) return key end })
      return { body = t.found }
    end },
    { "/sort", get = function()
      table.sort({ 3, 1, 2 }, function(a, b) tg.sleep(0.01) return a < b end)
      return { body = "x" }
    end },
    { "/iterator", get = function()
      local parts = {}
      for i in coroutine.wrap(function() for i = 1, 3 do tg.sleep(0.01) coroutine.yield(i) end end) do
        parts[#parts + 1] = i
      end
      return { body = table.concat(parts, " ") }
    end },
  },
}
]]

describe("waiting", function()
  local s

  setup(function() s = server.start({ script = SCRIPT, args = { "--quiet" } }) end)
  teardown(function() s:stop() end)

  local function get(path) return raw.get(s.port, path).body end

  it("holds a thousand exchanges while another is answered at once (B11)", timed(function()
    local clients = {}
    for i = 1, 1000 do
      clients[i] = assert(raw.connect(s.port))
      clients[i]:send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
    end
    server.eventually(function() return get("/waiting") == "1000" end)
    local start = harness.now()
    get("/waiting")
    assert.is_true(harness.now() - start < 100)
    assert.equal("1000 0", get("/release"))
    for _, c in ipairs(clients) do
      assert.equal("waited", c:read_response(10).body)
      c:close()
    end
  end))

  it("returns what resume was given, or nil and why after its timeout (B12)", function()
    assert.equal("x2niltimeout", get("/values"))
  end)

  it("works inside iterators and metamethods of the script's own (B14)", function()
    assert.equal("found", get("/metamethod"))
    assert.equal("1 2 3", get("/iterator"))
  end)

  it("is a clear error where Lua cannot suspend, and for a yield outside a coroutine (B14)", function()
    assert.equal(500, raw.get(s.port, "/sort").status)
    s:wait_log("cannot wait here", 2)
    assert.equal(500, raw.get(s.port, "/yield").status)
    s:wait_log("yield from outside a coroutine", 2)
  end)
end)

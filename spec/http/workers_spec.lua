-- Several loops, each with a thread and a Lua state.
local harness = require("harness")
local raw = require("raw")
local server = require("server")

local SCRIPT = [[
local tg = require("tidegate")
local me = tostring({})
local served = 0
return {
  limits = { connections = 40, drain = 5 },
  routes = {
    { "/", get = function() served = served + 1 return { body = me } end },
    { "/spin", get = function()
      local until_then = os.clock() + 0.3
      while os.clock() < until_then do end
      return { body = me }
    end },
    { "/slow", get = function() tg.sleep(0.4) return { body = "slow" } end },
  },
}
]]

describe("workers", function()
  local function states(s, connections)
    local seen, count = {}, 0
    for _ = 1, connections do
      local me = raw.get(s.port, "/").body
      if not seen[me] then seen[me], count = true, count + 1 end
    end
    return count
  end

  it("share a port, each with a Lua state of its own", function()
    local s <close> = server.start({ script = SCRIPT, workers = 3 })
    assert.equal(1, #s.urls)
    assert.equal(3, states(s, 100))
  end)

  it("share a unix socket", function()
    local dir = server.folder()
    finally(function() server.remove_folder(dir) end)
    local path = dir .. "/s"
    local s <close> = server.start({ script = SCRIPT, workers = 2, listen = { "unix:" .. path, "127.0.0.1:0" } })
    for _ = 1, 20 do assert.equal(200, raw.get(path, "/").status) end
    assert.equal(200, raw.get(tonumber(s.urls[2]:match("%d+$")), "/").status)
  end)

  it("are as many as the script says, where the command says nothing", function()
    local s <close> = server.start({
      script = SCRIPT:gsub("limits =", "workers = 2, limits =", 1), workers = false,
    })
    assert.equal(2, states(s, 60))
  end)

  it("refuse a port that another gateway serves, by one line and exit code 3 (B62)", function()
    local s <close> = server.start({ script = SCRIPT, workers = 2 })
    local second = server.command({ "run", s.script, "--workers", "2", "--listen", "127.0.0.1:" .. s.port })
    assert.equal(3, second.exit)
    assert.equal(("tidegate: 127.0.0.1:%d: Address already in use\n"):format(s.port), second.stderr)
  end)

  it("count limits.connections together, and accept again when there is room (B66)", function()
    local s <close> = server.start({ script = SCRIPT, workers = 2 })
    local clients = {}
    local closed = setmetatable({}, { __close = function()
      for _, client in ipairs(clients) do client:close() end
    end })
    local _ <close> = closed
    local served = 0
    for i = 1, 60 do
      clients[i] = assert(raw.connect(s.port))
      assert(clients[i]:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    end
    local waiting = {}
    for i = 1, 60 do
      if clients[i]:read_head(0.3) then served = served + 1 else waiting[#waiting + 1] = clients[i] end
    end
    -- A worker may take one more while the other takes the last.
    assert.is_true(served >= 40 and served <= 42, served)
    for i = 1, 60 do
      local late = false
      for _, client in ipairs(waiting) do late = late or client == clients[i] end
      if not late then clients[i]:close() end
    end
    for _, client in ipairs(waiting) do assert.equal(200, client:read_head(5).status) end
  end)

  it("let what is in flight finish at a stop, all of them (B61)", function()
    local s = server.start({ script = SCRIPT, workers = 2 })
    local clients = {}
    for i = 1, 12 do
      clients[i] = assert(raw.connect(s.port))
      assert(clients[i]:send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"))
    end
    server.eventually(function() return not clients[1]:more(harness.now()) end)
    harness.sleep(0.1) -- the requests are on their way to the handlers: those that are not would be refused
    s:kill("TERM")
    for _, client in ipairs(clients) do
      local response = client:read_response(5)
      assert.equal("slow", response.body)
    end
    assert.equal(0, s:wait_exit(5))
  end)

  it("end at once at a second signal, whatever is in flight (B61)", function()
    local s = server.start({ script = SCRIPT:gsub("0%.4", "30"), workers = 2 })
    local client <close> = assert(raw.connect(s.port))
    assert(client:send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"))
    harness.sleep(0.05)
    s:kill("TERM")
    s:wait_log("stopping: ")
    s:kill("INT")
    assert.equal(0, s:wait_exit(5))
  end)

  it("go on while one of them computes", function()
    local s <close> = server.start({ script = SCRIPT, workers = 2 })
    local spinning <close> = assert(raw.connect(s.port))
    assert(spinning:send("GET /spin HTTP/1.1\r\nHost: x\r\n\r\n"))
    local began, quick = harness.now(), 0
    for _ = 1, 30 do
      local client <close> = assert(raw.connect(s.port))
      client:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
      if client:read_head(0.05) then quick = quick + 1 end
      if harness.now() > began + 250 then break end
    end
    assert.is_true(quick >= 2, quick)
    assert.equal(200, spinning:read_head(5).status)
  end)
end)

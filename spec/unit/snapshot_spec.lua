-- What a gateway tells a host that has its own loop: its open exchanges, its reloads, its access log.
local json = require("cjson")
local probe = require("probe_snapshot")
local raw = require("raw")
local server = require("server")

local APP = [[
  local tg = require("tidegate")
  return { log = %q, limits = { drain = 0 }, routes = {
    { "/waits/:n", name = "waiter", get = function()
      tg.sleep(60)
    end },
    { "/", get = function() return { body = "x" } end },
  } }
]]

describe("tidegate_snapshot", function()
  local dir, script, port, clients

  before_each(function()
    dir = server.folder()
    script = dir .. "/app.lua"
    server.write(script, APP:format("text"))
    clients = {}
  end)

  after_each(function()
    for _, client in ipairs(clients) do client:close() end
    server.remove_folder(dir)
  end)

  local function ask(target)
    local client = assert(raw.connect(port))
    clients[#clients + 1] = client
    client:send(("GET %s HTTP/1.1\r\nHost: x\r\n\r\n"):format(target))
    probe.run(0.05)
    return client
  end

  it("tells of each exchange from the host's loop, then of the worker, then that this is all", function()
    port = probe.new(script, {})
    for i = 1, 3 do ask("/waits/" .. i) end
    assert.is_true(probe.snapshot(10))
    assert.equal("", probe.told())
    probe.run(0.05)
    local lines = ""
    for i = 1, 3 do lines = lines .. ("exchange GET /waits/%d waiter %s:4\n"):format(i, script) end
    assert.equal(lines .. "worker serves\ndone\n", probe.told())
    probe.free()
  end)

  it("tells of no more than were asked for, and of those that are asked for at once each time", function()
    port = probe.new(script, {})
    for i = 1, 3 do ask("/waits/" .. i) end
    assert.is_true(probe.snapshot(1))
    assert.is_true(probe.snapshot(0))
    probe.run(0.05)
    local told = probe.told()
    assert.equal(1, select(2, told:gsub("exchange ", "")))
    assert.equal(2, select(2, told:gsub("worker serves\n", "")))
    assert.equal(2, select(2, told:gsub("done\n", "")))
    probe.free()
  end)

  it("is answered when the gateway goes, though its loop did not turn", function()
    port = probe.new(script, {})
    ask("/waits/1")
    assert.is_true(probe.snapshot(10))
    assert.is_true(probe.snapshot(10))
    probe.told()
    probe.free()
    assert.equal("worker ended\ndone\nworker ended\ndone\n",
      (probe.told():gsub("log [^\n]*\n", "")))
  end)

  it("leaves reloads to be told of by themselves", function()
    port = probe.new(script, {})
    assert.is_true(probe.reload())
    probe.run(0.1)
    assert.matches("^reload begins\nlog reload: .*\nreload done\n", probe.told())
    server.write(script, "return {")
    assert.is_true(probe.reload())
    probe.run(0.1)
    assert.matches("^reload begins\nlog reload: the last good script serves on: .*\nreload script\n$",
      probe.told())
    probe.free()
  end)

  it("is apart from the access log, whose JSON has a callback, or else the log's", function()
    server.write(script, APP:format("json"))
    for _, access in ipairs({ true, false }) do
      port = probe.new(script, { access = access })
      ask("/")
      local line = probe.told():match(access and "^access (.*)\n$" or "^log (.*)\n$")
      assert.equal("GET /", json.decode(line).route)
      probe.free()
    end
    for log, is in pairs({ [0] = "^$", [2] = "^log GET / 200 1 ", [3] = "^access {" }) do
      port = probe.new(script, { access = true, log = log })
      ask("/")
      assert.matches(is, probe.told())
      probe.free()
    end
  end)
end)

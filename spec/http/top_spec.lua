-- `tidegate top` and the control socket that it asks.
local harness = require("harness")
local json = require("cjson")
local lfs = require("lfs")
local raw = require("raw")
local server = require("server")

local APP = [[
  local tg = require("tidegate")
  local function wait_here()
    tg.sleep(60)
  end
  return { workers = 1, limits = { response_timeout = 0 }, routes = {
    { "/hello", get = function() return { body = "hello\n" } end },
    { "/sleeps/:id", name = "sleeper", get = function()
      wait_here()
      return { body = "" }
    end },
    { "/wrapped", get = function()
      local next_one = coroutine.wrap(function()
        tg.sleep(60)
        coroutine.yield(1)
      end)
      return { body = tostring(next_one()) }
    end },
    { "/floods", get = function() return { body = function(out)
      while true do out:write(("x"):rep(10000)) end
    end } end },
    { "/topic", get = function() return { body = tg.topic("t") } end },
    { "/stuck", get = function()
      return { body = tostring(("a"):rep(32):find(("a-"):rep(24) .. "b")) }
    end },
  } }
]]

local function start(options)
  options = options or {}
  options.script = options.script or APP
  local dir = server.folder()
  options.args = { "--control", dir .. "/control" }
  local s = server.start(options)
  s.control = dir .. "/control"
  s.control_dir = dir
  return s
end

local function top(s, ...) return server.command({ "top", "--control", s.control, ... }) end
local function look(s)
  local result = top(s, "--json")
  assert.equal("", result.stderr)
  return json.decode(result.stdout)
end

-- The rows whose field has this value, once there are so many.
local function rows(s, field, value, count)
  return server.eventually(function()
    local found = {}
    for _, row in ipairs(look(s).exchanges) do
      if row[field] == value then found[#found + 1] = row end
    end
    return #found == count and found
  end)
end

local function ask(s, target)
  local client = assert(raw.connect(s.port, { rcvbuf = 4096 }))
  assert(client:send(("GET %s HTTP/1.1\r\nHost: x\r\n\r\n"):format(target)))
  return client
end

describe("tidegate top", function()
  local s
  setup(function() s = start() end)
  teardown(function()
    s:stop()
    server.remove_folder(s.control_dir)
  end)

  it("shows each open exchange with its route, and the line where its script waits", function()
    local _ <close> = ask(s, "/sleeps/7?x=%22")
    local row = rows(s, "route", "sleeper", 1)[1]
    assert.same({ "GET", "/sleeps/7?x=%22", "127.0.0.1", "enter" },
      { row.method, row.target, row.peer, row.phase })
    assert.equal(s.script .. ":3", row.where)
    assert.same({ 1, 1, 0, 0 }, { row.worker, row.generation, row.bytes, row.unsent })
    assert.is_true(row.age >= 0 and row.age < 60)
    local older = row.age
    assert.is_true(rows(s, "id", row.id, 1)[1].age >= older)
  end)

  it("finds the line in the script's own coroutines", function()
    local _ <close> = ask(s, "/wrapped")
    assert.equal(s.script .. ":13", rows(s, "route", "GET /wrapped", 1)[1].where)
  end)

  it("tells how much waits for a client, and since when it takes nothing", function()
    local client <close> = ask(s, "/floods")
    server.eventually(function()
      local row = rows(s, "route", "GET /floods", 1)[1]
      return row.unsent > 0 and row.stalled > 0.2 and row.bytes >= row.unsent
        and row.where == s.script .. ":19"
    end)
    assert(client:read_bytes(2000000, 20))
    local before = rows(s, "route", "GET /floods", 1)[1]
    assert.is_true(before.stalled < before.age)
  end)

  it("shows streams that have no script any more", function()
    local client <close> = ask(s, "/topic")
    assert(client:read_head())
    local row = rows(s, "target", "/topic", 1)[1]
    assert.same({ "", "body", "GET /topic" }, { row.where, row.phase, row.route })
  end)

  it("forgets exchanges that are over", function()
    local client <close> = ask(s, "/sleeps/8")
    rows(s, "target", "/sleeps/8", 1)
    client:close()
    rows(s, "target", "/sleeps/8", 0)
    raw.get(s.port, "/hello")
    rows(s, "target", "/hello", 0)
  end)

  it("shows which generation an exchange belongs to", function()
    local _ <close> = ask(s, "/sleeps/old")
    rows(s, "target", "/sleeps/old", 1)
    local before = look(s).workers[1].generation
    s:kill("HUP")
    s:wait_log(("reload: .*generation %d"):format(before + 1))
    local _ <close> = ask(s, "/sleeps/new")
    assert.equal(before + 1, rows(s, "target", "/sleeps/new", 1)[1].generation)
    assert.equal(before, rows(s, "target", "/sleeps/old", 1)[1].generation)
    local worker = look(s).workers[1]
    assert.same({ "serving", before + 1, 2 }, { worker.state, worker.generation, worker.generations })
    assert.is_true(worker.lua_memory > 10000 and worker.connections >= 2)
  end)

  it("prints a table once where there is no terminal", function()
    local _ <close> = ask(s, "/sleeps/%C3%A9")
    rows(s, "target", "/sleeps/%C3%A9", 1)
    local result = top(s)
    assert.equal(0, result.exit)
    assert.matches("^worker 1: generation %d+, %d+ connections, %d+ exchanges, [%d.]+ MiB of Lua\n",
      result.stdout)
    assert.matches("\n +1 +%d+ +%d+%.%d +0 +0 +0%.0  enter  sleeper  [^\n]*app%.lua:3  GET /sleeps/%%C3%%A9\n",
      result.stdout)
  end)

  it("redraws each second on a terminal", function()
    local process <close> = assert(harness.spawn(
      { "script", "-qc", ("%s top --control %s"):format(server.binary, s.control), "/dev/null" },
      { stdout = "pipe", stderr = "null" }))
    local seen = ""
    server.eventually(function()
      seen = process:output("stdout")
      return select(2, seen:gsub("\27%[H\27%[2J", "")) >= 2
    end, 20)
    assert.matches("worker 1: generation", seen)
  end)
end)

describe("The control socket", function()
  local function mode_of(path) return lfs.attributes(path, "permissions") end

  it("is its owner's alone, and gone when the gateway is", function()
    local s = start()
    assert.equal("rw-------", mode_of(s.control))
    assert.equal("socket", lfs.attributes(s.control, "mode"))
    s:stop()
    assert.is_nil(lfs.attributes(s.control))
    local result = top(s, "--once")
    assert.same({ 3, "tidegate: " .. s.control .. ": No such file or directory\n" },
      { result.exit, result.stderr })
    server.remove_folder(s.control_dir)
  end)

  it("takes the place of one that was left behind, or is another gateway's", function()
    local dir = server.folder()
    do
      local _ <close> = assert(harness.listen(dir .. "/control"))
    end
    local args = { "--control", dir .. "/control" }
    local old = server.start({ script = APP, args = args })
    local new = server.start({ script = APP, args = args })
    old:stop()
    assert.equal(0, server.command({ "top", "--control", dir .. "/control" }).exit)
    new:stop()
    local left = {}
    for name in lfs.dir(dir) do left[#left + 1] = name:match("^[^.]+.*") end
    assert.same({}, left)
    server.remove_folder(dir)
  end)

  it("is not put in the place of something else (B62)", function()
    local dir = server.folder()
    server.write(dir .. "/app.lua", APP)
    server.write(dir .. "/control", "precious")
    local result = server.command({ "run", dir .. "/app.lua", "--listen", "127.0.0.1:0",
      "--control", dir .. "/control" })
    assert.same({ 3, "tidegate: " .. dir .. "/control: File exists\n" }, { result.exit, result.stderr })
    assert.equal("precious", server.read(dir .. "/control"))
    server.remove_folder(dir)
  end)

  it("answers a line with a line, and says what it does not know", function()
    local s <close> = start({ workers = 2 })
    local function request(line)
      local client <close> = assert(raw.connect(s.control))
      assert(client:send(line))
      return (client:read_all())
    end
    assert.equal(2, #json.decode(request("top\n")).workers)
    assert.equal(2, #json.decode(request("top json 5\r\n")).workers)
    assert.matches("^worker 1: ", request("top text\n"))
    for _, line in ipairs({ "\n", "bottom\n", "top xml\n", "top \0\n" }) do
      local answer = json.decode(request(line))
      assert.is_truthy(answer.error or answer.workers, line)
    end
    assert.equal("", request(("x"):rep(300)))
    local _ <close> = assert(raw.connect(s.control))
    assert.equal(2, #json.decode(request("top json\n")).workers)
    server.remove_folder(s.control_dir)
  end)

  it("gives no more exchanges than were asked for, and their number", function()
    local s <close> = start()
    local clients = {}
    for i = 1, 20 do clients[i] = ask(s, "/sleeps/" .. i) end
    server.eventually(function() return look(s).open == 20 end)
    local client <close> = assert(raw.connect(s.control))
    assert(client:send("top json 3\n"))
    local answer = json.decode((client:read_all()))
    assert.same({ 20, 3 }, { answer.open, #answer.exchanges })
    for _, one in ipairs(clients) do one:close() end
    server.remove_folder(s.control_dir)
  end)

  it("says which worker is stuck, and shows the others", function()
    local s = start({ workers = 2 })
    local _ <close> = ask(s, "/stuck")
    local states = server.eventually(function()
      local found = {}
      for _, worker in ipairs(look(s).workers) do found[#found + 1] = worker.state end
      table.sort(found)
      return found[2] == "stuck" and found
    end, 20)
    assert.same({ "serving", "stuck" }, states)
    assert.matches("worker %d: stuck: does not answer\n", top(s).stdout)
    s:kill("KILL")
    s:discard()
    server.remove_folder(s.control_dir)
  end)

  it("keeps no descriptor and no memory of its answers", function()
    local s <close> = start()
    look(s)
    local fds = s:fds()
    for _ = 1, 20 do look(s) end
    server.eventually(function() return s:fds() == fds end)
    server.remove_folder(s.control_dir)
  end)
end)

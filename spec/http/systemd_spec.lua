-- What a service manager does with the command: sockets that are handed over, notifications, a new
-- binary in the place of the old one, and the unit files of examples/.
local curl = require("curl")
local harness = require("harness")
local lfs = require("lfs")
local raw = require("raw")
local secure = require("secure")
local server = require("server")

local APP = [[
  local tg = require("tidegate")
  return { workers = 2, routes = {
    { "/", get = function() return { body = "hello\n" } end },
    { "/who", get = function()
      tg.sleep(0.02)
      return { body = ("%s\n"):format(os.getenv("WHO")) }
    end },
    { "/stream", get = function() return { body = function(out)
      for i = 1, 20 do out:write(i, "\n") tg.sleep(0.05) end
    end } end },
    { "/inherited", get = function()
      local pipe <close> = io.popen("env; ls -l /proc/self/fd")
      return { body = pipe:read("a") }
    end },
  } }
]]
local EXEC = { "sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh" }

-- A process that is handed sockets, as systemd does.
local function activated(sockets, options)
  options = options or {}
  local env = { LISTEN_FDS = tostring(#sockets), LISTEN_FDNAMES = options.names or false }
  for name, value in pairs(options.env or {}) do env[name] = value end
  return server.start({
    script = APP, listen = options.listen or {}, wrap = EXEC, inherit = sockets, env = env,
    workers = options.workers, args = options.args,
  })
end

-- Runs the command as server.command() does, with sockets.
local function refused(sockets, names, address)
  local dir = server.folder()
  server.write(dir .. "/app.lua", APP)
  local argv = { table.unpack(EXEC) }
  table.move({ server.binary, "run", "app.lua", "--listen", address }, 1, 5, #argv + 1, argv)
  local process <close> = assert(harness.spawn(argv, {
    env = { LISTEN_FDS = tostring(#sockets), LISTEN_FDNAMES = names }, cwd = dir, inherit = sockets,
    stdout = "null", stderr = "pipe",
  }))
  local exit = process:wait(10)
  server.remove_folder(dir)
  return exit, process:output("stderr")
end

describe("A socket that is handed over", function()
  it("is what all workers serve on, in place of what the script says", function()
    local socket <close> = assert(harness.listen(0))
    local s <close> = activated({ socket }, { workers = 3 })
    assert.same({ "http://127.0.0.1:" .. socket:port() }, s.urls)
    for _ = 1, 20 do assert.equal("hello\n", raw.get(s.port, "/").body) end
  end)

  it("may come from systemd itself", function()
    if not os.execute("command -v systemd-socket-activate >/dev/null") then
      pending("there is no systemd-socket-activate")
    end
    local port
    do
      local socket <close> = assert(harness.listen(0))
      port = socket:port()
    end
    -- It begins with the first connection, which waits for it.
    local dir = server.folder()
    server.write(dir .. "/app.lua", APP)
    local process <close> = assert(harness.spawn({ "systemd-socket-activate", "-l",
      "127.0.0.1:" .. port, "--fdname=web", server.binary, "run", dir .. "/app.lua",
      "--listen", "fd:web" }, { stdout = "null", stderr = "null" }))
    server.eventually(function()
      local client <close> = raw.connect(port)
      return client ~= nil
    end)
    assert.equal("hello\n", raw.get(port, "/", 10).body)
    process:kill("TERM")
    assert.equal(0, process:wait(10))
    server.remove_folder(dir)
  end)

  it("may be a unix socket, whose file stays", function()
    local dir = server.folder()
    local socket <close> = assert(harness.listen(dir .. "/socket"))
    local s = activated({ socket }, { workers = 2 })
    assert.equal("unix:" .. dir .. "/socket", s.urls[1])
    assert.equal("hello\n", raw.get(dir .. "/socket", "/").body)
    s:stop()
    assert.equal("socket", lfs.attributes(dir .. "/socket", "mode"))
    server.remove_folder(dir)
  end)

  it("is one of several, by name or number, beside addresses of other kinds", function()
    local first <close> = assert(harness.listen(0))
    local second <close> = assert(harness.listen("@tidegate-spec-" .. harness.now()))
    local third <close> = assert(harness.listen(0))
    local s <close> = activated({ first, second, third }, {
      names = "web:control:admin", listen = { "fd:admin", "127.0.0.1:0", "fd:4" },
    })
    assert.equal("http://127.0.0.1:" .. third:port(), s.urls[1])
    assert.matches("^unix:@tidegate%-spec", s.urls[3])
    assert.equal("hello\n", raw.get(third:port(), "/").body)
    assert.equal("hello\n", raw.get(tonumber(s.urls[2]:match("%d+$")), "/").body)
    local unserved <close> = assert(raw.connect(first:port()))
    assert(unserved:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert.is_true(unserved:is_silent(0.1))
  end)

  it("speaks TLS where the script has certificates, or its address says so", function()
    local dir = server.folder()
    local pair = secure.certificate(dir, "localhost")
    local tls <close> = assert(harness.listen(0))
    local plain <close> = assert(harness.listen(0))
    local s <close> = activated({ tls, plain }, {
      names = "web:inner", listen = { "https://fd:web", "http://fd:inner" }, workers = 2,
      args = { "--tls-cert", pair.cert, "--tls-key", pair.key },
    })
    assert.same({ "https://127.0.0.1:" .. tls:port(), "http://127.0.0.1:" .. plain:port() }, s.urls)
    for _ = 1, 5 do
      local answer = curl.run({ "--cacert", pair.cert, "--resolve",
        ("localhost:%d:127.0.0.1"):format(tls:port()), ("https://localhost:%d/"):format(tls:port()) })
      assert.same({ 200, "hello\n" }, { answer.status, answer.stdout }, answer.stderr)
    end
    assert.equal("hello\n", raw.get(plain:port(), "/").body)
    server.remove_folder(dir)
  end)

  it("is not handed on to what the script starts, nor are the variables that tell of it", function()
    local socket <close> = assert(harness.listen(0))
    local s <close> = activated({ socket }, { names = "web" })
    local body = raw.get(s.port, "/inherited").body
    assert.matches("PATH=", body)
    assert.is_nil(body:find("LISTEN_"))
    assert.is_nil(body:find("socket:"), body)
  end)

  it("is none for a process that it is not meant for", function()
    local socket <close> = assert(harness.listen(0))
    local s <close> = server.start({
      script = APP, inherit = { socket }, env = { LISTEN_FDS = "1", LISTEN_PID = "1" },
    })
    assert.not_equal(socket:port(), s.port)
  end)

  it("is refused when it is none, does not listen, or has another name", function()
    local socket <close> = assert(harness.listen(0))
    local connected <close> = assert(harness.connect(socket:port()))
    local exit, said = refused({ socket }, "web", "fd:wep")
    assert.same({ 2, "tidegate: fd:wep: no socket of this name was handed over\n" }, { exit, said })
    exit, said = refused({ connected }, "web", "fd:web")
    assert.same({ 3, "tidegate: fd:3: not a socket that listens for TCP or unix connections\n" },
      { exit, said })
    exit, said = refused({ socket }, "web", "fd:77")
    assert.same({ 3, "tidegate: fd:77: Bad file descriptor\n" }, { exit, said })
  end)
end)

describe("A new process on the same socket", function()
  -- Requests without an end, each on a connection of its own; a line of what was answered for each.
  local LOAD = [[
    while [ ! -e "$1/stop" ]; do
      curl -sS --max-time 20 --noproxy '*' "http://127.0.0.1:$2/who" || echo "failed: $?"
    done]]

  it("takes over from the old one under load, and nothing is lost (B61)", function()
    local dir = server.folder()
    local socket <close> = assert(harness.listen(0, { backlog = 512 }))
    local port = tostring(socket:port())
    local loads = {}
    local current = activated({ socket }, { workers = 2, env = { WHO = "process 0" } })
    for i = 1, 4 do
      loads[i] = assert(harness.spawn({ "sh", "-c", LOAD, "sh", dir, port },
        { stdout = dir .. "/answers", stderr = dir .. "/answers" }))
    end
    local function answered_by(who)
      server.eventually(function() return server.read(dir .. "/answers"):find(who, 1, true) end, 20)
    end
    answered_by("process 0")
    for i = 1, 3 do
      local stream <close> = assert(raw.connect(socket:port()))
      assert(stream:send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"))
      local response = assert(stream:read_head(20))
      local next_one = activated({ socket }, { workers = 2, env = { WHO = "process " .. i } })
      current:kill("TERM")
      answered_by("process " .. i)
      while stream:read_chunk(response, 20) do end
      assert.is_true(response.complete)
      assert.equal(0, current:wait_exit(20))
      current = next_one
    end
    server.write(dir .. "/stop", "")
    for _, load in ipairs(loads) do
      assert.equal(0, load:wait(30))
      load:close()
    end
    current:stop()
    local count = 0
    for line in server.read(dir .. "/answers"):gmatch("[^\n]+") do
      assert.matches("^process %d$", line)
      count = count + 1
    end
    assert.is_true(count > 20)
    server.remove_folder(dir)
  end)
end)

describe("A process that is told to stop", function()
  it("answers who has connected, and who has sent a request (B61)", function()
    local socket <close> = assert(harness.listen(0))
    local s = activated({ socket })
    local kept <close> = assert(raw.connect(s.port))
    assert(kept:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert.equal("hello\n", kept:read_response().body)
    local late <close> = assert(raw.connect(s.port))
    assert(late:send("GET / HTTP/1.1\r\nHo"))
    local silent <close> = assert(raw.connect(s.port))
    server.eventually(function() return harness.fds(s.pid) >= 12 end)
    s:kill("TERM")
    assert(kept:read_all()) -- an idle one is closed
    assert(late:send("st: x\r\n\r\n"))
    assert(silent:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    local response = late:read_response()
    assert.same({ "hello\n", { "close" } }, { response.body, response.headers.connection })
    assert.equal("hello\n", silent:read_response().body)
    assert.equal(0, s:wait_exit())
  end)
end)

describe("A service manager", function()
  local function manager(address)
    local socket = assert(harness.listen(address, { datagram = true }))
    return socket, function(wanted, seconds)
      local deadline = harness.now() + (seconds or 10) * 1000
      while true do
        local text, why = socket:recv(4096, math.max(0, (deadline - harness.now()) / 1000))
        if not text then error(("no %s: %s"):format(wanted, why), 2) end
        if text:find(wanted) then return text end
      end
    end
  end

  it("is told when it serves, when it loads its script anew, and when it stops", function()
    local dir = server.folder()
    local _ <close>, expect = manager(dir .. "/notify")
    local s = server.start({ script = APP, env = { NOTIFY_SOCKET = dir .. "/notify" } })
    assert.equal("READY=1\nSTATUS=Serving", expect("READY"))
    assert.equal("hello\n", raw.get(s.port, "/").body)
    local before = harness.now() * 1000
    s:kill("HUP")
    local usec = expect("RELOADING"):match("^RELOADING=1\nMONOTONIC_USEC=(%d+)\nSTATUS=[^\n]+$")
    assert.is_true(tonumber(usec) >= before and tonumber(usec) <= harness.now() * 1000)
    assert.equal("READY=1\nSTATUS=Serving", expect("READY"))
    server.write(s.script, "return {")
    s:kill("HUP")
    expect("RELOADING")
    assert.matches("^READY=1\nSTATUS=Serving the last good script", expect("READY"))
    s:kill("TERM")
    expect("^STOPPING=1\nSTATUS=")
    assert.equal(0, s:wait_exit())
    server.remove_folder(dir)
  end)

  it("may listen in the abstract namespace", function()
    local name = "@tidegate-spec-" .. harness.now()
    local _ <close>, expect = manager(name)
    local s <close> = server.start({ script = APP, env = { NOTIFY_SOCKET = name } })
    expect("^READY=1")
    assert.is_nil(raw.get(s.port, "/inherited").body:find("NOTIFY_SOCKET"))
  end)

  it("that is not there harms nothing", function()
    local s <close> = server.start({ script = APP, env = { NOTIFY_SOCKET = "/nowhere/notify" } })
    assert.equal("hello\n", raw.get(s.port, "/").body)
  end)

  it("is told that it lives, several times in the time that it is given", function()
    local dir = server.folder()
    local _ <close>, expect = manager(dir .. "/notify")
    local _ <close> = server.start({
      script = APP, workers = 2,
      env = { NOTIFY_SOCKET = dir .. "/notify", WATCHDOG_USEC = "200000" },
    })
    expect("READY")
    for _ = 1, 3 do assert.equal("WATCHDOG=1", expect("WATCHDOG")) end
    server.remove_folder(dir)
  end)

  it("is not told so while a worker is stuck", function()
    local dir = server.folder()
    local _ <close>, expect = manager(dir .. "/notify")
    local s = server.start({
      env = { NOTIFY_SOCKET = dir .. "/notify", WATCHDOG_USEC = "100000" },
      script = [[ return { routes = { { "/", get = function()
        return { body = tostring(("a"):rep(32):find(("a-"):rep(24) .. "b")) }
      end } } } ]],
    })
    expect("WATCHDOG")
    local client <close> = assert(raw.connect(s.port))
    assert(client:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    server.eventually(function() return not pcall(expect, "WATCHDOG", 1) end)
    s:kill("KILL")
    s:discard()
    server.remove_folder(dir)
  end)
end)

describe("The pidfile", function()
  local function with_file(text)
    local dir = server.folder()
    if text then server.write(dir .. "/pid", text) end
    return dir .. "/pid", dir
  end

  it("takes the place of one that was left behind", function()
    local path, dir = with_file("99999999\nand more\n")
    local s = server.start({ script = APP, args = { "--pidfile", path } })
    assert.equal(s.pid .. "\n", server.read(path))
    s:stop()
    assert.is_nil(lfs.attributes(path))
    server.remove_folder(dir)
  end)

  it("of a process that has taken over stays when the old one ends", function()
    local path, dir = with_file()
    local old = server.start({ script = APP, args = { "--pidfile", path } })
    local new <close> = server.start({ script = APP, args = { "--pidfile", path } })
    old:stop()
    assert.equal(new.pid .. "\n", server.read(path))
    server.remove_folder(dir)
  end)

  it("is not written by a process that cannot listen", function()
    local path, dir = with_file("1\n")
    local taken <close> = assert(harness.listen(0))
    server.write(dir .. "/app.lua", APP)
    local result = server.command({ "run", dir .. "/app.lua", "--pidfile", path,
      "--listen", "127.0.0.1:" .. taken:port() })
    assert.equal(3, result.exit)
    assert.equal("1\n", server.read(path))
    server.remove_folder(dir)
  end)
end)

describe("The unit files of examples/", function()
  it("are what systemd understands, and leave a process little that it could harm", function()
    if not os.execute("command -v systemd-analyze >/dev/null") then
      pending("there is no systemd-analyze")
    end
    local dir = server.folder()
    for _, name in ipairs({ "tidegate.service", "tidegate.socket" }) do
      local text, count = server.read("examples/" .. name):gsub("/usr/local/bin/tidegate", server.binary)
      assert.equal(name == "tidegate.service" and 1 or 0, count)
      server.write(dir .. "/" .. name, text)
    end
    local function analyze(...)
      local process <close> = assert(harness.spawn({ "systemd-analyze", ... },
        { stdout = "pipe", stderr = "pipe" }))
      local exit = process:wait(30)
      return exit, process:output("stdout") .. process:output("stderr")
    end
    local files = { dir .. "/tidegate.service", dir .. "/tidegate.socket" }
    local exit, said = analyze("verify", "--man=no", table.unpack(files))
    assert.equal(0, exit, said)
    -- Of other units of the machine it may say something.
    for line in said:gmatch("[^\n]+") do assert.is_nil(line:find("tidegate", 1, true), line) end
    exit, said = analyze("security", "--offline=yes", "--threshold=20", files[1])
    assert.equal(0, exit, said)
    server.remove_folder(dir)
  end)
end)

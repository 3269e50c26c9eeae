-- The command: what it says, where, and its exit codes.
local harness = require("harness")
local lfs = require("lfs")
local raw = require("raw")
local server = require("server")
local sources = require("sources")
local timed = require("timed")

local FINE, SCRIPT, USAGE, SYSTEM = 0, 1, 2, 3

local APP = [[
local function hello() return { body = "hello\n" } end
return {
  interceptors = { { name = "outer", leave = function() end } },
  routes = {
    { "/hello", get = hello, name = "hello" },
    { "/café/:id", host = "*.example.org", post = hello, any = hello,
      interceptors = { { name = "inner", enter = function() end } } },
  },
}
]]

describe("tidegate", function()
  local dir

  setup(function()
    dir = server.folder()
    server.write(dir .. "/app.lua", APP)
    server.write(dir .. "/syntax.lua", "return {\n  routes = \n}\n")
    server.write(dir .. "/raises.lua", "local x = nil\nreturn x.y\n")
    server.write(dir .. "/problems.lua",
      'return { rotues = {}, routes = { { "/a", gte = print }, { "no-slash", get = print } } }\n')
  end)
  teardown(function() server.remove_folder(dir) end)

  local function tidegate(...) return server.command({ ... }, { cwd = dir }) end

  -- One line on stderr for a failure, nothing on stdout, and the exit code.
  local function assert_refused(code, message, result)
    assert.equal(message, result.stderr)
    assert.same({ code, "" }, { result.exit, result.stdout })
  end

  describe("version", function()
    it("prints the library's version, which is the header's", function()
      local header = sources.read("include/tidegate.h")
      local parts = {}
      for _, part in ipairs({ "MAJOR", "MINOR", "PATCH" }) do
        parts[#parts + 1] = header:match("TIDEGATE_VERSION_" .. part .. " (%d+)")
      end
      local result = tidegate("version")
      assert.equal(("tidegate %s\n"):format(table.concat(parts, ".")), result.stdout)
      assert.same({ FINE, "" }, { result.exit, result.stderr })
      assert.equal(result.stdout, tidegate("--version").stdout)
    end)
  end)

  describe("help", function()
    it("goes to stdout when asked for, and names every command and option it has", function()
      local result = tidegate("help")
      assert.same({ FINE, "" }, { result.exit, result.stderr })
      for _, word in ipairs({ "run", "check", "routes", "explain", "version", "--listen", "--workers", "--dev",
        "--watch", "--limit", "--quiet", "--pidfile" }) do
        assert.is_truthy(result.stdout:find(word, 1, true), word)
      end
      assert.equal(result.stdout, tidegate("--help").stdout)
      assert.equal(result.stdout, tidegate("run", "--help").stdout)
    end)

    it("goes to stderr for a command line without a word", function()
      local result = tidegate()
      assert.same({ USAGE, "" }, { result.exit, result.stdout })
      assert.matches("^usage: tidegate run", result.stderr)
    end)
  end)

  describe("a mistake on the command line", function()
    local MISTAKES = {
      { { "rnu", "app.lua" }, "rnu: unknown command; did you mean run?" },
      { { "ruotes" }, "ruotes: unknown command; did you mean routes?" },
      { { "zigzag" }, "zigzag: unknown command; `tidegate help` lists them" },
      { { "run" }, "run: needs a script" },
      { { "check" }, "check: needs a script" },
      { { "explain" }, "explain: needs a script" },
      { { "explain", "a.lua", "GET" }, "explain: needs a method and a path" },
      { { "explain", "a.lua", "GET", "/", "x" }, "x: one word too many" },
      { { "run", "a.lua", "b.lua" }, "b.lua: a second script; there can be one" },
      { { "run", "a.lua", "--frob" }, "--frob: unknown option; `tidegate help` lists them" },
      { { "run", "a.lua", "--lsiten", "x" }, "--lsiten: unknown option; did you mean --listen?" },
      { { "run", "a.lua", "--zzz" }, "--zzz: unknown option; `tidegate help` lists them" },
      { { "run", "a.lua", "--listen" }, "--listen: needs a value" },
      { { "run", "a.lua", "--pidfile=" }, "--pidfile: needs a value" },
      { { "run", "a.lua", "--listen", "8080" },
        "--listen: 8080 is not HOST:PORT, [V6]:PORT, unix:/PATH or fd:N" },
      { { "run", "a.lua", "--listen", "a:65536" },
        "--listen: a:65536 is not HOST:PORT, [V6]:PORT, unix:/PATH or fd:N" },
      { { "run", "a.lua", "--workers", "0" }, "--workers: 0 is not a number from 1 to 1024" },
      { { "run", "a.lua", "--workers=2x" }, "--workers: 2x is not a number from 1 to 1024" },
      { { "run", "a.lua", "--limit", "drian=1" }, "drian=1: is not a limit" },
      { { "run", "a.lua", "--limit", "drain" }, "drain: expected NAME=VALUE, with the name of a limit" },
      { { "run", "a.lua", "--limit=drain=1s" }, "drain=1s: expected a number, of bytes or seconds" },
      { { "run", "a.lua", "--limit", "drain=-1" }, "drain=-1: must be a number of zero or more" },
      { { "run", "a.lua", "--dev=yes" }, "--dev: takes no value" },
      { { "check", "a.lua", "--dev" }, "--dev: this command takes no options" },
      { { "version", "x" }, "x: this command takes no arguments" },
    }
    for _, case in ipairs(MISTAKES) do
      it(("%q is answered with %q (B62)"):format(table.concat(case[1], " "), case[2]), function()
        assert_refused(USAGE, "tidegate: " .. case[2] .. "\n", tidegate(table.unpack(case[1])))
      end)
    end
  end)

  describe("check", function()
    it("finds nothing in a good script", function()
      local result = tidegate("check", "app.lua")
      assert.equal("app.lua: fine, 3 routes\n", result.stdout)
      assert.same({ FINE, "" }, { result.exit, result.stderr })
    end)

    it("names file and line of a syntax error (B58)", function()
      local result = tidegate("check", "syntax.lua")
      assert.same({ SCRIPT, "" }, { result.exit, result.stdout })
      assert.matches("^tidegate: .*syntax%.lua:3: ", result.stderr)
    end)

    it("names file and line of a raise (B58)", function()
      local result = tidegate("check", "raises.lua")
      assert.equal(SCRIPT, result.exit)
      assert.matches("raises%.lua:2: ", result.stderr)
    end)

    it("reports every problem, a line each (B58)", function()
      local result = tidegate("check", "problems.lua")
      assert.equal(SCRIPT, result.exit)
      for _, word in ipairs({ "rotues", "gte", "no%-slash" }) do
        assert.matches("tidegate: [^\n]*" .. word, result.stderr)
      end
    end)

    it("says so when there is no such script (B62)", function()
      local result = tidegate("check", "nothing.lua")
      assert.same({ SCRIPT, "" }, { result.exit, result.stdout })
      assert.matches("^tidegate: [^\n]*nothing%.lua[^\n]*\n$", result.stderr)
    end)
  end)

  describe("routes", function()
    it("prints a table in the script's order, aligned by characters", function()
      local result = tidegate("routes", "app.lua")
      assert.same({ FINE, "" }, { result.exit, result.stderr })
      local lines = {}
      for line in result.stdout:gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
      assert.matches("^METHOD  PATH       HOST           NAME   INTERCEPTORS$", lines[1])
      assert.matches("^GET     /hello                    hello  outer", lines[2])
      assert.matches("^%S+ +/café/:id  %*%.example%.org         outer inner", lines[3])
      assert.equal(4, #lines)
      for _, line in ipairs(lines) do assert.is_nil(line:find("%s$")) end
    end)

    it("are explained: which one a request goes to, through what, with what (B53)", function()
      local path = dir .. "/explained.lua"
      server.write(path, [[return { interceptors = { { name = "outer", enter = function() end } }, routes = {
        { "/users/:id/*rest", name = "user", get = function() end, constraints = { id = "%d+" } },
        { "/users/search", host = "a.example", any = function() end } } }]])
      local function explain(...)
        local result = tidegate("explain", path, ...)
        return result.exit, result.stdout .. result.stderr
      end
      assert.same({ FINE, "route:        GET /users/:id/*rest\nname:         user\n"
        .. "interceptors: outer\n              user\nparameters:   id = 7\n              rest = a b/c\n" },
        { explain("GET", "/users/7/a%20b/c?x=1") })
      assert.same({ FINE, "route:        any a.example/users/search\ninterceptors: outer\n"
        .. "              ANY /users/search\n" }, { explain("PUT", "http://a.example:80/users/search") })
      assert.same({ SCRIPT, "tidegate: /users/x/y: no route has it (404)\n" }, { explain("GET", "/users/x/y") })
      assert.same({ SCRIPT, "tidegate: POST /users/7/x: the path has routes, but none for the method (405)\n" },
        { explain("POST", "/users/7/x") })
      assert.same({ SCRIPT, "tidegate: users: not a path (400)\n" }, { explain("GET", "users") })
      assert.same({ SCRIPT, "tidegate: /users/7/a%00b: not a path (400)\n" }, { explain("GET", "/users/7/a%00b") })
    end)

    it("fails when nobody can read it", function()
      local process <close> = assert(harness.spawn(
        { server.binary, "routes", "app.lua" },
        { cwd = dir, stdout = "/dev/full", stderr = "pipe" }))
      assert.equal(SYSTEM, process:wait())
      assert.equal("tidegate: stdout: No space left on device\n", process:output("stderr"))
    end)
  end)

  describe("run", function()
    it("says where it listens, once it does, and ends with 0 at SIGTERM", function()
      local s <close> = server.start({ script = APP })
      assert.matches("^http://127%.0%.0%.1:%d+$", s.url)
      assert.equal("hello\n", raw.get(s.port, "/hello").body)
      assert.equal(FINE, s:stop())
    end)

    it("listens on each address it is given", function()
      local folder = server.folder()
      local path = folder .. "/socket"
      local s = server.start({ script = APP, listen = { "127.0.0.1:0", "unix:" .. path } })
      assert.equal("unix:" .. path, s.urls[2])
      assert.equal("hello\n", raw.get(path, "/hello").body)
      assert.equal("hello\n", raw.get(s.port, "/hello").body)
      s:stop()
      server.remove_folder(folder)
    end)

    it("says in one line that a port is in use (B62)", function()
      local taken <close> = assert(harness.listen(0))
      local address = "127.0.0.1:" .. taken:port()
      assert_refused(SYSTEM, ("tidegate: %s: Address already in use\n"):format(address),
        tidegate("run", "app.lua", "--listen", address))
    end)

    it("says in one line that it may not listen there (B62)", function()
      local address = "unix:" .. dir .. "/nowhere/socket"
      assert_refused(SYSTEM, ("tidegate: %s: No such file or directory\n"):format(address),
        tidegate("run", "app.lua", "--listen", address))
    end)

    it("serves nothing from a bad script (B62)", function()
      local result = tidegate("run", "syntax.lua", "--listen", "127.0.0.1:0")
      assert.equal(SCRIPT, result.exit)
      assert.matches("^tidegate: .*syntax%.lua:3: [^\n]*\n$", result.stderr)
    end)

    it("keeps its number in the pidfile while it serves", function()
      local path = dir .. "/pid"
      local s = server.start({ script = APP, args = { "--pidfile", path } })
      assert.equal(s.pid .. "\n", server.read(path))
      s:stop()
      assert.is_nil(lfs.attributes(path))
    end)

    it("does not serve when it cannot write the pidfile (B62)", function()
      local path = dir .. "/nowhere/pid"
      assert_refused(SYSTEM, ("tidegate: %s: No such file or directory\n"):format(path),
        tidegate("run", "app.lua", "--listen", "127.0.0.1:0", "--pidfile", path))
    end)

    it("logs each exchange with the time and the level", function()
      local s <close> = server.start({ script = APP })
      raw.get(s.port, "/hello")
      local line = s:wait_log("/hello")
      assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ info ", line)
    end)

    it("drops the access log and nothing else with --quiet", function()
      local s <close> = server.start({ args = { "--quiet" },
        script = 'return { routes = { { "/fails", get = function() error("a mishap") end } } }' })
      raw.get(s.port, "/nowhere")
      raw.get(s.port, "/fails")
      s:wait_log("error .*a mishap")
      s:stop()
      assert.is_nil(s:log_text():find("/nowhere", 1, true))
    end)

    it("serves on when nobody reads its log", function()
      local process <close> = assert(harness.spawn(
        { server.binary, "run", dir .. "/app.lua", "--listen", "127.0.0.1:0" },
        { stderr = "pipe" }))
      local port = tonumber(assert(process:read_line("stderr", 20)):match(":(%d+)$"))
      local client <close> = assert(raw.connect(port))
      local target = "/" .. ("x"):rep(2000)
      for _ = 1, 500 do -- a megabyte of log, into a pipe of 64 KiB that is not read
        assert(client:send(("GET %s HTTP/1.1\r\nHost: a\r\n\r\n"):format(target)))
        assert.equal(404, assert(client:read_response()).status)
      end
      process:kill("TERM")
      assert.equal(FINE, process:wait(20))
      assert.matches("tidegate: log: %d+ lines dropped", process:output("stderr"))
    end)

    it("gives what the script starts the default signals", function()
      local s <close> = server.start({ script = [[
        return { routes = { { "/", get = function()
          local pipe <close> = io.popen("grep -E '^Sig(Blk|Ign)' /proc/self/status")
          return { body = pipe:read("a") }
        end } } }
      ]] })
      local text = raw.get(s.port, "/").body
      local term, pipe, int = 1 << 14, 1 << 12, 1 << 1
      local count = 0
      for mask in text:gmatch("Sig%a+:%s*(%x+)") do
        count = count + 1
        assert.equal(0, tonumber(mask, 16) & (term | pipe | int))
      end
      assert.equal(2, count)
    end)
  end)

  describe("a signal", function()
    local SLOW = [[
      local tg = require("tidegate")
      return { limits = { drain = 30 }, routes = { { "/slow", get = function()
        return { body = function(out)
          out:write("begun\n")
          out:flush()
          tg.sleep(20)
        end }
      end } } }
    ]]

    it("lets what is in flight finish; a second ends it at once", timed(function()
      local s = server.start({ script = SLOW })
      local client <close> = assert(raw.connect(s.port))
      client:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
      client:read_until("begun\n\r\n")
      s:kill("INT")
      s:wait_log("info stopping: what is in flight may finish")
      server.eventually(function()
        return select(2, raw.connect(s.port, { timeout = 1 })) == "Connection refused"
      end, 2)
      assert.is_true(client:is_silent(0.05))
      s:kill("INT")
      local began = harness.now()
      assert.equal(FINE, s:wait_exit())
      assert.is_true(harness.now() - began < 5000)
    end))
  end)
end)

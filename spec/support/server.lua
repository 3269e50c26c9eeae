-- server.lua - a tidegate process of a spec's own, on a free port.
--
--   local s <close> = server.start { script = [[return { routes = { … } }]] }
--   raw.get(s.port, "/")
local harness = require("harness")
local lfs = require("lfs")
local raw = require("raw")

local SANITIZED = os.getenv("ASAN_OPTIONS") ~= nil
local PATIENCE = 30 -- seconds, at least, for whatever is waited for: a deadline, not a promise

local Server = {}
Server.__index = Server

local function absolute(path)
  return path:sub(1, 1) == "/" and path or lfs.currentdir() .. "/" .. path
end

local server = {
  binary = absolute(os.getenv("TIDEGATE") or "build/tidegate"),
  sanitized = SANITIZED,
  -- ThreadSanitizer holds signals back until the thread makes a call that it knows: a loop makes none,
  -- and is not stopped.
  threads_sanitized = (os.getenv("TIDEGATE_BUILD") or ""):find("thread", 1, true) ~= nil,
}

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

local function read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read("a") or ""
end

local function remove_tree(path)
  for name in lfs.dir(path) do
    local inner = path .. "/" .. name
    if name ~= "." and name ~= ".." then
      local kind = lfs.symlinkattributes(inner, "mode")
      if kind == "directory" then remove_tree(inner) else os.remove(inner) end
    end
  end
  lfs.rmdir(path)
end

-- A new folder under /tmp: server.remove_folder() is its end.
function server.folder() return assert(harness.mkdtemp()) end
server.remove_folder = remove_tree
server.write = write
server.read = read

-- Asks again and again until the answer is neither nil nor false, and returns it.
function server.eventually(ask, seconds)
  local deadline = harness.now() + math.max(seconds or 0, PATIENCE) * 1000
  while true do
    local answer = ask()
    if answer then return answer end
    if harness.now() > deadline then error("still not so", 2) end
    harness.sleep(0.005)
  end
end

-- Sanitizer reports, in what a process wrote on stderr.
function server.sanitizer_report(text)
  return text:match("[^\n]*ERROR: %a+Sanitizer.*")
    or text:match("[^\n]*WARNING: ThreadSanitizer.*")
    or text:match("[^\n]*runtime error: .*")
end

-- Runs the command to its end: { exit =, signal =, stdout =, stderr = }.  exit is nil after a
-- signal, and when the timeout has passed.
function server.command(args, options)
  options = options or {}
  local argv = { server.binary, table.unpack(args) }
  local process <close> = assert(harness.spawn(argv, {
    env = options.env, cwd = options.cwd, stdout = "pipe", stderr = "pipe",
  }))
  local exit, why, signal = process:wait(options.timeout or PATIENCE)
  local result = {
    exit = exit,
    signal = why == "signal" and signal or nil,
    stdout = process:output("stdout"),
    stderr = process:output("stderr"),
  }
  local report = server.sanitizer_report(result.stderr)
  if report then error(report, 2) end
  return result
end

local function arguments(self, options)
  -- Most specs look at one Lua state: what one request leaves in it the next one sees.
  local argv = { server.binary, "run", self.script }
  if options.workers ~= false then
    table.move({ "--workers", tostring(options.workers or 1) }, 1, 2, #argv + 1, argv)
  end
  local listen = options.listen or { "127.0.0.1:0" } -- {}: what the script says
  for _, address in ipairs(type(listen) == "table" and listen or { listen }) do
    argv[#argv + 1] = "--listen"
    argv[#argv + 1] = address
  end
  if server.tls and not options.plain then
    local tls = { "--tls-cert", server.tls.cert, "--tls-key", server.tls.key }
    table.move(tls, 1, #tls, #argv + 1, argv)
  end
  table.move(options.args or {}, 1, #(options.args or {}), #argv + 1, argv)
  local wrapped = table.move(options.wrap or {}, 1, #(options.wrap or {}), 1, {})
  return table.move(argv, 1, #argv, #wrapped + 1, wrapped)
end

-- An error with what it logged; the server stays, for the other specs that use it.
local function fail(self, what)
  local log = self:log_text()
  if #log > 8192 then log = log:sub(1, 4096) .. "\n[…]\n" .. log:sub(-4096) end
  error(("%s; its stderr:\n%s"):format(what, log), 0)
end

-- The port of each listener, by its log lines, in their order.
local function await_listeners(self, count)
  self:await(function(lines)
    self.urls = {}
    for _, line in ipairs(lines) do
      local url = line:match("^tidegate: listening on (.*)$")
        or line:match('^{.*"message":"listening on ([^"]*)"}$')
      self.urls[#self.urls + 1] = url
      local port = url and url:match("^https?://.*:(%d+)$")
      if port then raw.secure[tonumber(port)] = url:find("^https") ~= nil end
    end
    return #self.urls >= count
  end, "did not listen")
  self.url = self.urls[1]
  self.port = tonumber(self.url:match("^https?://.*:(%d+)$"))
end

-- start { script = text | file = path, files = { [name] = text }, args = {…}, env = {…},
--         listen = address | list, cwd = path, workers = n (1; false: what the script says),
--         wrap = { command, … that runs it }, inherit = { socket, … as descriptors from 3 on } }
-- Returns once it listens: { port, pid, url, urls, dir, script }.  files lie beside the script.
function server.start(options)
  local self = setmetatable({ dir = server.folder() }, Server)
  self.script = options.file and absolute(options.file) or self.dir .. "/app.lua"
  self.log_path = self.dir .. "/stderr.log"
  for name, text in pairs(options.files or {}) do write(self.dir .. "/" .. name, text) end
  if options.script then write(self.script, options.script) end
  write(self.log_path, "")
  self.process = assert(harness.spawn(arguments(self, options), {
    env = options.env, cwd = options.cwd, stdout = "null", stderr = self.log_path,
    inherit = options.inherit,
  }))
  self.pid = self.process:pid()
  local count = math.max(1, type(options.listen) == "table" and #options.listen or 1)
  local listens, problem = pcall(await_listeners, self, count)
  if not listens then
    self:discard()
    error(problem, 0)
  end
  return self
end

-- The whole lines that it has written on stderr so far: a list.
function Server:log()
  local lines = {}
  for line in self:log_text():gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
  return lines
end

-- All of it; after a stop too.
function Server:log_text() return self.final_log or read(self.log_path) end

-- Until found(lines) is true, of its lines so far.
function Server:await(found, otherwise, seconds)
  local deadline = harness.now() + math.max(seconds or 0, PATIENCE) * 1000
  while true do
    local ended, signal = self.process:wait(0)
    ended = ended or signal == "signal"
    if found(self:log()) then return end
    if ended or harness.now() > deadline then
      fail(self, otherwise .. (ended and " before it ended" or " in time"))
    end
    harness.sleep(0.005)
  end
end

-- The first line that the pattern matches, once there is one, looking from line `from` (1) on; and
-- its number, so that from + 1 asks for another.
function Server:wait_log(pattern, seconds, from)
  local line, number
  self:await(function(lines)
    for i = from or 1, #lines do
      if lines[i]:find(pattern) then
        line, number = lines[i], i
        return true
      end
    end
  end, ("no line matched %q"):format(pattern), seconds)
  return line, number
end

-- Memory in KiB, descriptors, threads.
function Server:rss() return harness.rss_kib(self.pid) end
function Server:hwm() return harness.hwm_kib(self.pid) end
function Server:fds() return harness.fds(self.pid) end
function Server:threads() return harness.threads(self.pid) end
function Server:cpu_ticks() return harness.cpu_ticks(self.pid) end

-- Its time on the processor, in ticks of 10 ms, once it has stopped using any (for 100 ms).
function Server:cpu_after_rest(seconds)
  local deadline = harness.now() + math.max(seconds or 0, PATIENCE) * 1000
  local ticks
  repeat
    ticks = self:cpu_ticks()
    harness.sleep(0.1)
    if harness.now() > deadline then fail(self, "does not come to rest") end
  until self:cpu_ticks() == ticks
  return ticks
end

function Server:kill(signal) return self.process:kill(signal or "TERM") end

-- Ends it without a look at how.
function Server:discard()
  if self.stopped then return end
  self.final_log = self:log_text()
  self.stopped = true
  self.process:close()
  remove_tree(self.dir)
end

-- SIGTERM, and 0, its exit code.  Another code, no end, an end by a signal or a sanitizer's report
-- is an error.  Its log stays.
function Server:stop(seconds)
  if self.stopped then return self.exit end
  self.process:kill("TERM")
  local exit = self:wait_exit(seconds)
  if exit ~= 0 then fail(self, ("ended with %d"):format(exit)) end
  return exit
end

-- Its exit code, once it has ended by itself or as the spec made it.
function Server:wait_exit(seconds)
  local exit, why, signal = self.process:wait(seconds or PATIENCE)
  self.exit = exit
  self:discard()
  if server.sanitizer_report(self.final_log) then fail(self, "a sanitizer's report") end
  if not exit then fail(self, ("did not end well: %s %s"):format(why, signal or "")) end
  return exit
end

-- `local s <close>`: the end of a spec is a stop, unless it has failed already.
function Server:__close(failed)
  if failed then self:discard() else self:stop() end
end

function Server:__gc() self:discard() end

return server

-- Open Lua files as bodies: copied from where they stand, without blocking, and closed on every way out.
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local SCRIPT = [[
local tg = require("tidegate")
local at_load = table.pack(io.popen("exit 7"):close())
local last -- the handle of the last request

local function open(request)
  last = request.query.run and assert(io.popen(request.query.run))
    or assert(io.open(request.query.path, request.query.mode))
  if request.query.lines then
    for _ = 1, tonumber(request.query.lines) do last:read("l") end
  end
  return last
end

local function serve(status, headers)
  return function(request)
    return { status = status, headers = headers, body = open(request) }
  end
end

return {
  limits = { response_timeout = 20 },
  routes = {
    { "/body", get = serve() },
    { "/typed", get = serve(200, { ["Content-Type"] = "text/x" }) },
    { "/204", get = serve(204) },
    { "/304", get = serve(304) },
    { "/bad", get = serve(200, { ["X-Bad"] = "a\nb" }) },
    { "/short", get = serve(200, { ["Content-Length"] = 3 }) },
    { "/leave", get = { { name = "l", leave = function() tg.sleep(100) end }, serve() } },
    { "/answered", get = { { name = "e", error = function(ctx) ctx.response = { body = "answered" } end },
      serve(200, { ["X-Bad"] = "a\nb" }) } },
    { "/closed", get = function(request)
      local handle = open(request)
      handle:close()
      return { body = handle }
    end },
    { "/twice", get = function(request, ctx)
      local handle = open(request)
      ctx:write_response({ status = 200 })
      ctx:write_response_body(handle)
      ctx:write_response_body("then")
      tg.log.info("twice", pcall(ctx.write_response_body, ctx, handle))
    end },
    { "/close-meanwhile", get = function() return { body = { last:close() } } end },
    { "/again", get = function() return { body = last } end },
    { "/state", get = function() return { body = tostring(io.type(last)) } end },
    { "/close", get = function(request)
      local results = table.pack(io.popen(request.query.run):close())
      for i = 1, results.n do results[i] = tostring(results[i]) end
      return { body = table.concat(results, " ") }
    end },
    { "/close-below", get = function(request)
      local handle = io.popen(request.query.run)
      local ok, why = pcall(string.gsub, "x", "x", function() handle:close() end)
      return { body = tostring(ok) .. " " .. tostring(why) .. " " .. io.type(handle) }
    end },
    { "/drop", get = function(request)
      for _ = 1, 10 do io.popen(request.query.run) end
      do local handle <close> = io.popen(request.query.run) end
      collectgarbage()
      collectgarbage()
      return { body = "dropped" }
    end },
    { "/write", get = function(request)
      local handle = io.popen("cat > " .. request.query.path, "w")
      handle:write("written")
      return { body = tostring(handle:close()) }
    end },
    { "/mode", get = function() return { body = tostring(select(2, pcall(io.popen, "true", "rw"))) } end },
    { "/cut", get = function() return { body = select(2, io.popen("true\0 no more")) } end },
    { "/loaded", get = function() return { body = table.concat({ tostring(at_load[1]), at_load[2], at_load[3] }, " ") } end },
    { "/fine", get = function() return { body = "fine" } end },
  },
}
]]

local function escape(text)
  return (text:gsub("[^%w/._-]", function(c) return ("%%%02X"):format(c:byte()) end))
end

describe("an open file as a body", function()
  local s, dir, path, text

  setup(function()
    s = server.start({ script = SCRIPT })
    dir = server.folder()
    path = dir .. "/file.txt"
    local lines = {}
    for i = 1, 300000 do lines[i] = ("%d\n"):format(i) end
    text = table.concat(lines)
    server.write(path, text)
  end)
  teardown(function()
    server.remove_folder(dir)
    s:stop()
  end)

  local function get(target) return assert(raw.get(s.port, target, 10)) end
  local function run(command, more) return get("/body?run=" .. escape(command) .. (more or "")) end
  local function connect(target, method)
    local c = assert(raw.connect(s.port))
    c:send(("%s %s HTTP/1.1\r\nHost: a\r\n\r\n"):format(method or "GET", target))
    return c
  end

  -- The states of its processes: "S" sleeps, "Z" waits to be reaped.
  local function children()
    local states = {}
    local pipe <close> = io.popen("ps -o stat= --ppid " .. s.pid)
    for line in pipe:lines() do states[#states + 1] = line:sub(1, 1) end
    return table.concat(states)
  end

  it("is copied from where it stands to its end, as bytes (B24)", function()
    local response = get("/body?path=" .. path)
    assert.equal("application/octet-stream", response.headers["content-type"][1])
    assert.is_true(response.body == text)
    assert.is_true(get("/body?lines=1&path=" .. path).body == text:sub(3))
    assert.is_true(get("/body?lines=200000&path=" .. path).body == text:match("\n(200001\n.*)$"))
    assert.equal("text/x", get("/typed?path=" .. path).headers["content-type"][1])
  end)

  it("has its length when it is small, or what the system makes up (B32)", function()
    server.write(dir .. "/small", "small")
    assert.equal("5", get("/body?path=" .. dir .. "/small").headers["content-length"][1])
    assert.matches("MemTotal", get("/body?path=/proc/meminfo").body)
  end)

  it("is what a process prints, as it does (B19, B24)", function()
    local c <close> = connect("/body?run=" .. escape("for i in 1 2 3; do echo $i; sleep 0.3; done"))
    local response = c:read_response(10)
    assert.equal("1\n2\n3\n", response.body)
    assert.equal(3, #response.chunks)
    assert.is_true(response.chunks[3].at - response.chunks[2].at > 250)
  end)

  it("begins with what was read ahead of the script (B24)", function()
    assert.equal("2\n3\n", run("printf '1\\n2\\n'; sleep 0.2; echo 3", "&lines=1").body)
    assert.is_true(run("cat " .. path, "&lines=1000").body == text:match("\n(1001\n.*)$"))
  end)

  it("that has nothing to read holds nobody back (B24)", timed(function()
    local clients = {}
    for i = 1, 20 do clients[i] = connect("/body?run=" .. escape("sleep 1; echo late")) end
    for _ = 1, 20 do
      local start = harness.now()
      assert.equal("fine", get("/fine").body)
      assert.is_true(harness.now() - start < 500)
    end
    for _, c in ipairs(clients) do
      assert.equal("late\n", c:read_response(20).body)
      c:close()
    end
  end))

  it("may be a FIFO (B24)", function()
    local fifo = dir .. "/fifo"
    assert(os.execute("mkfifo " .. fifo))
    local c <close> = connect("/body?mode=r%2B&path=" .. fifo)
    server.eventually(function() return get("/state").body == "file" end)
    local file <close> = assert(io.open(fifo, "w"))
    file:write("through the pipe")
    file:close()
    assert(c:read_until("through the pipe"))
  end)

  it("is closed when it was sent (B24)", function()
    get("/fine")
    local before = s:fds()
    for _ = 1, 10 do
      get("/body?path=" .. path)
      assert.equal("closed file", get("/state").body)
      run("echo x")
      assert.equal("closed file", get("/state").body)
    end
    server.eventually(function() return s:fds() <= before and children() == "" end)
  end)

  it("is closed when it is not to be sent: HEAD, 204, 304 (B24, B29)", function()
    for _, target in ipairs({ "/204", "/304" }) do
      assert.equal("", get(target .. "?path=" .. path).body)
      assert.equal("closed file", get("/state").body)
    end
    local c <close> = connect("/body?path=" .. path, "HEAD")
    local response = c:read_response(5, { head = true })
    assert.equal("application/octet-stream", response.headers["content-type"][1])
    assert.equal("closed file", get("/state").body)
  end)

  it("is closed when the response fails, before or after it began (B24, B32)", function()
    assert.equal(500, get("/bad?path=" .. path).status)
    assert.equal("closed file", get("/state").body)
    assert.equal("answered", get("/answered?path=" .. path).body)
    assert.equal("closed file", get("/state").body)
    local short = get("/short?path=" .. path)
    assert.is_true(short.status == 500 or not short.complete)
    assert.equal("closed file", get("/state").body)
  end)

  it("is closed when the client leaves, whatever is waited for (B15, B24)", function()
    get("/fine")
    local before = s:fds()
    for _, target in ipairs({ "/body?run=yes", "/body?run=" .. escape("echo x; sleep 1"), "/leave?path=" .. path,
      "/leave?run=yes", "/body?path=/dev/zero" }) do
      for _ = 1, 3 do
        local c = connect(target)
        if target:find("leave") then get("/fine") else assert(c:read_until("\r\n\r\n")) end
        c:close()
      end
      server.eventually(function() return get("/state").body == "closed file" end)
    end
    server.eventually(function() return s:fds() <= before and children() == "" end)
  end)

  it("cannot be read when it is closed, for writing only, or a folder (B24)", function()
    assert.equal(500, get("/closed?path=" .. path).status)
    s:wait_log("the file is closed", 2)
    assert.equal(500, get("/body?mode=w&path=" .. dir .. "/new").status)
    s:wait_log("cannot read the file: Bad file descriptor", 2)
    assert.equal(500, get("/body?path=" .. dir).status)
    s:wait_log("cannot read the file: Is a directory", 2)
  end)

  it("is one body at a time, and not the script's to close meanwhile (B24)", function()
    local c <close> = connect("/body?run=" .. escape("echo x; sleep 0.5; echo y"))
    assert(c:read_until("x\n"))
    assert.matches("being sent", get("/close-meanwhile").body)
    assert.equal(500, get("/again").status)
    s:wait_log("being sent as another body", 2)
    assert(c:read_until("y\n"))
    assert.is_true(get("/twice?path=" .. path).body == text .. "then")
    s:wait_log("twice false.*the file is closed", 2)
  end)

  describe("of io.popen", function()
    it("holds nobody back when the script closes it (B11)", timed(function()
      local c <close> = connect("/close?run=" .. escape("sleep 0.5; exit 3"))
      for _ = 1, 5 do
        local start = harness.now()
        get("/fine")
        assert.is_true(harness.now() - start < 400)
      end
      assert.equal("nil exit 3", c:read_response(10).body)
      assert.equal("true exit 0", get("/close?run=true").body)
      assert.equal("nil signal 9", get("/close?run=" .. escape("kill -9 $$")).body)
    end))

    it("stays open where it cannot be waited for", function()
      assert.matches("^false .*cannot wait here.* file$", get("/close-below?run=" .. escape("sleep 0.2")).body)
    end)

    it("holds nobody back when it is collected or goes out of scope, and is reaped (B15)", timed(function()
      local before, threads = s:fds(), s:threads()
      local start = harness.now()
      assert.equal("dropped", get("/drop?run=" .. escape("sleep 2")).body)
      assert.is_true(harness.now() - start < 1500)
      assert.is_true(s:fds() <= before)
      server.eventually(function() return children() == "" and s:threads() <= threads end)
    end))

    it("is reaped when the client leaves during a close (B13)", function()
      local c = connect("/close?run=" .. escape("sleep 1"))
      server.eventually(function() return children() ~= "" end)
      c:close()
      server.eventually(function() return children() == "" end)
    end)

    it("writes, and is waited for while the script loads", function()
      assert.equal("true", get("/write?path=" .. dir .. "/written").body)
      assert.equal("written", server.read(dir .. "/written"))
      assert.equal("nil exit 7", get("/loaded").body)
      assert.matches("invalid mode", get("/mode").body)
      assert.equal("true: Invalid argument", get("/cut").body)
    end)

    it("gives a process no descriptor but its three, and no signal ignored or blocked", function()
      local names = {}
      for name in run("ls -1 /proc/self/fd").body:gmatch("%d+") do names[#names + 1] = name end
      assert.same({ "0", "1", "2", "3" }, names) -- the last one is the listing's own
      local status = run("cat /proc/self/status").body
      assert.equal(0, tonumber(status:match("SigBlk:%s*(%x+)"), 16))
      assert.equal(0, tonumber(status:match("SigIgn:%s*(%x+)"), 16) & 0x1000) -- SIGPIPE
    end)
  end)
end)

-- Tasks of an exchange: they write its response, fail, take too long, and end with it.
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local SCRIPT = [[
local tg = require("tidegate")
local notes, ticks, held = {}, 0, {}

local function note(text) notes[#notes + 1] = text end
local function closer(name)
  return setmetatable({}, { __close = function() note(name) end })
end
local function sleeper(name, seconds)
  return function()
    local x <close> = closer(name .. " closed")
    tg.sleep(seconds or 100)
    note(name .. " slept")
  end
end

tg.spawn(function()
  while true do
    tg.sleep(0.01)
    ticks = ticks + 1
  end
end)

local function inner() error("in the task") end

return {
  limits = { response_timeout = 0.5 },
  routes = {
    { "/notes", get = function() return { body = table.concat(notes, ",") } end },
    { "/ticks", get = function() return { body = tostring(ticks) } end },
    { "/all", get = function()
      local start = tg.monotonic()
      local r = tg.all { a = function() tg.sleep(0.2) return 1 end, b = function() tg.sleep(0.2) return 2 end }
      return { body = ("%d %d %.2f"):format(r.a, r.b, tg.monotonic() - start) }
    end },
    { "/ends", get = function()
      tg.spawn(sleeper("ends"))
      tg.sleep(0)
      return { body = "x" }
    end },
    { "/never-begins", get = function()
      tg.spawn(function() note("began") end)
      return { body = "x" }
    end },
    { "/leaves", get = { { name = "first", enter = function() tg.spawn(sleeper("of an interceptor")) end },
      function()
        tg.spawn(function() tg.spawn(sleeper("of a task")) sleeper("of the handler")() end)
        return { body = function(out)
          local x <close> = closer("body closed")
          tg.sleep(0.01) -- they have begun by then
          out:write("first")
          tg.sleep(100)
        end }
      end } },
    { "/detached", get = function()
      tg.detach(tg.spawn(sleeper("detached", 0.1)))
      return { body = "x" }
    end },
    { "/fails", name = "fails", get = function()
      tg.spawn(inner)
      tg.sleep(0.01)
      return { body = "all the same" }
    end },
    { "/joined", get = function() return { body = tostring(tg.spawn(inner):join()) } end },
    { "/late", get = function() tg.timeout(0.05, sleeper("late")) end },
    { "/late-handled", get = { { name = "h", error = function(ctx, err)
      ctx.response = { status = 200, body = ("%s %s"):format(err.value.timeout, err.message) }
    end }, function() tg.timeout(0.05, sleeper("late")) end } },
    { "/response-timeout", get = { { name = "e", error = function(ctx, err)
      note("error stage")
      error(err, 0)
    end }, function() tg.spawn(sleeper("spawned")) tg.sleep(100) end } },

    -- Writing.
    { "/parts", get = function(_, ctx)
      ctx:write_response { status = 200 }
      local tasks = {}
      for i = 1, 3 do
        tasks[i] = tg.spawn(function()
          tg.sleep(i / 50)
          ctx:write_response_body { part = i }
          ctx:write_response_body("\n")
          ctx:flush()
        end)
      end
      for _, task in ipairs(tasks) do task:join() end
    end },
    { "/implicit", get = function(_, ctx)
      tg.spawn(function() ctx:write_response_body("from a task") end):join()
    end },
    { "/through-out", get = function()
      return { body = function(out, ctx)
        tg.all {
          function() for i = 1, 3 do out:write("a", i, " ") tg.sleep(0.01) end end,
          function() for i = 1, 3 do out:print({ b = i }) tg.sleep(0.01) end end,
          function() tg.sleep(0.02) ctx:write_response_body("c ") end,
        }
        out:write(tostring(tg.spawn(function() return ctx.request.path end):join()))
      end }
    end },
    { "/yields", get = function()
      return { body = tg.generate(function(yield)
        tg.timeout(5, function() for i = 1, 3 do yield(i) tg.sleep(0) end end)
        tg.spawn(yield, { 4, { 5 } }):join()
      end) }
    end },
    { "/flood", get = function()
      return { headers = { ["Content-Type"] = "text/plain" }, body = function(out)
        local work = {}
        for i = 1, 4 do
          local piece = tostring(i):rep(1000) .. "\n"
          work[i] = function() for _ = 1, 2000 do out:write(piece) end end
        end
        tg.all(work)
      end }
    end },
    { "/flooding", get = function()
      return { body = function(out)
        for i = 1, 3 do
          tg.spawn(function()
            local x <close> = closer("flood " .. i)
            while true do out:write(("x"):rep(100000)) end
          end)
        end
        tg.sleep(100)
      end }
    end },
    { "/files", get = function(_, ctx)
      local length = ctx.request.query.length
      ctx:write_response { status = 200, headers = { ["Content-Length"] = length } }
      local work = {}
      for i = 1, 3 do
        work[i] = function() ctx:write_response_body(tg.file("FILE" .. i)) end
        work[i + 3] = function()
          for _ = 1, 300 do ctx:write_response_body(("%d"):format(i):rep(999) .. "\n") end
        end
      end
      tg.all(work)
    end },
    { "/file-ends-it", get = function(_, ctx)
      ctx:write_response { status = 200 }
      tg.spawn(function() ctx:write_response_body(tg.file("FILE1")) note("file sent") end)
      tg.sleep(0)
      ctx:write_response_body("the end")
    end },
    { "/cut-file", get = function(_, ctx)
      ctx:write_response { status = 200 }
      pcall(tg.timeout, 0.05, ctx.write_response_body, ctx, tg.file("FILE4"))
      ctx:write_response_body("after")
    end },
    { "/shrinks", get = function(_, ctx)
      ctx:write_response { status = 200 }
      local task = tg.spawn(function() ctx:write_response_body(tg.file("FILE5")) end)
      note(tostring(select(2, pcall(task.join, task))))
      ctx:write_response_body("after")
    end },
    { "/after-the-end", get = function()
      return { body = function(out)
        tg.spawn(function()
          local ok, why = pcall(function() tg.sleep(0) tg.sleep(0) while true do out:write("late") tg.sleep(0) end end)
          note(tostring(why))
        end)
        out:write("body")
        out:close()
        tg.sleep(0.05)
      end }
    end },
    { "/keeps", get = function(_, ctx)
      return { body = function(out)
        held.out, held.ctx = out, ctx
        out:write("kept ")
        tg.wait(function(resume) held.go_on = resume end)
      end }
    end },
    { "/others", get = function()
      local said = {}
      for _, call in ipairs {
        function() held.ctx:write_response_body("x") end,
        function() held.ctx:flush() end,
        function() tg.spawn(function() held.ctx:write_response({}) end):join() end,
      } do said[#said + 1] = select(2, pcall(call)) end
      held.out:write("by another ")
      return { body = table.concat(said, "\n") }
    end },
    { "/floods-others", get = function()
      local ok, why = pcall(function() while true do held.out:write(("x"):rep(100000)) end end)
      return { body = tostring(why) }
    end },
    { "/go-on", get = function() return { body = tostring(held.go_on()) } end },

    { "/read-twice", post = function(request)
      local first = tg.spawn(function() return request.body:all() end)
      tg.sleep(0)
      local second = tg.spawn(function() return request.body:read() end)
      local _, why = pcall(second.join, second)
      note(tostring(why))
      return { body = first:join() }
    end },
  },
}
]]

describe("the tasks of an exchange", function()
  local s

  local folder

  setup(function()
    folder = server.folder()
    for i = 1, 3 do
      server.write(folder .. "/file" .. i, (("%s"):format(("abc"):sub(i, i)):rep(65535) .. "\n"):rep(64))
    end
    for _, name in ipairs({ "/file4", "/file5" }) do server.write(folder .. name, ("d"):rep(2 ^ 24)) end
    s = server.start({ script = SCRIPT:gsub("FILE", folder .. "/file") })
  end)
  teardown(function()
    s:stop()
    server.remove_folder(folder)
  end)

  local function get(path) return assert(raw.get(s.port, path)) end
  local function notes() return get("/notes").body end
  local function await_note(text)
    return server.eventually(function() return notes():find(text, 1, true) end)
  end
  local function stream(path, options)
    local c = assert(raw.connect(s.port, options))
    c:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
    return c
  end

  describe("run at the same time", function()
    it("and take as long as the slower (B77)", timed(function()
      local a, b, seconds = get("/all").body:match("^(%d) (%d) ([%d.]+)$")
      assert.equal("1 2", a .. " " .. b)
      assert.is_true(tonumber(seconds) < 0.35)
    end))

    it("as those do that the script has spawned while it was loaded", function()
      local before = tonumber(get("/ticks").body)
      server.eventually(function() return tonumber(get("/ticks").body) > before + 2 end)
    end)
  end)

  describe("end with it", function()
    it("when the response is sent (B15)", function()
      assert.equal("x", get("/ends").body)
      await_note("ends closed")
      get("/never-begins")
      assert.is_nil(notes():find("began"))
    end)

    it("when the client leaves, within 100 ms, the main one last (B13, B15)", timed(function()
      local c = stream("/leaves")
      assert(c:read_until("first"))
      local start = harness.now()
      c:close()
      await_note("body closed")
      assert.is_true(harness.now() - start < 100 or server.sanitized)
      assert.matches("of a task closed,of the handler closed,of an interceptor closed,body closed", notes())
    end))

    it("unless they are detached", function()
      assert.equal("x", get("/detached").body)
      assert.is_nil(notes():find("detached"))
      await_note("detached slept,detached closed")
    end)

    it("when it takes too long to answer: before the error stage (B12)", function()
      assert.equal(503, get("/response-timeout").status)
      assert.matches("spawned closed,error stage", notes())
    end)
  end)

  describe("that fail", function()
    it("are logged once, with a traceback, and harm nothing", function()
      assert.equal("all the same", get("/fails").body)
      local line, number = s:wait_log("a task has failed")
      assert.matches("fails: a task has failed: .*in the task; stack traceback:.*app.lua:23", line)
      get("/notes")
      for i = number + 1, #s:log() do assert.not_matches("a task has failed", s:log()[i]) end
    end)

    it("fail who joins them, with both tracebacks", function()
      assert.equal(500, get("/joined").status)
      local line = s:wait_log("in the task that was joined")
      assert.matches("GET /joined: unhandled .*in the task; stack traceback:.*joined:.*app.lua:23", line)
    end)

    it("of a timeout are a 503, or what an error stage makes of them (B12)", function()
      assert.equal(503, get("/late").status)
      assert.equal("true no result within 0.05 s", get("/late-handled").body)
    end)
  end)

  describe("write its response", function()
    it("in parts, as they come, of any type (B37)", function()
      local c <close> = stream("/parts")
      local response = c:read_response()
      assert.equal('{"part":1}\n{"part":2}\n{"part":3}\n', response.body)
      assert.is_true(response.complete)
      assert.is_true(#response.chunks >= 3)
    end)

    it("as an implicit 200 (B38)", function()
      local response = get("/implicit")
      assert.equal("200 from a task", response.status .. " " .. response.body)
    end)

    it("through the writer of a body, whole writes between each other", function()
      local body = get("/through-out").body
      for _, piece in ipairs({ "a1 ", "a2 ", "a3 ", '{"b":1}\n', '{"b":2}\n', '{"b":3}\n', "c " }) do
        assert.is_truthy(body:find(piece, 1, true), piece .. " in " .. body)
      end
      assert.matches("/through%-out$", body)
    end)

    it("as elements of a generator", function()
      assert.equal("[1,2,3,[4,[5]]]", get("/yields").body)
    end)

    it("to a client that is slow, each in its turn (B20)", function()
      local c <close> = stream("/flood", { rcvbuf = 4096 })
      harness.sleep(0.2)
      local response = c:read_response(30)
      assert.is_true(response.complete)
      local counts = {}
      for line in response.body:gmatch("([^\n]*)\n") do
        assert.equal(line:sub(1, 1):rep(1000), line)
        counts[line:sub(1, 1)] = (counts[line:sub(1, 1)] or 0) + 1
      end
      assert.same({ ["1"] = 2000, ["2"] = 2000, ["3"] = 2000, ["4"] = 2000 }, counts)
    end)

    for _, length in ipairs({ "", "?length=13482912" }) do
      it("with files among it, which stay whole, " .. (length == "" and "in chunks" or "of a length"), function()
        local c <close> = stream("/files" .. length, { rcvbuf = 65536 })
        harness.sleep(0.1)
        local response = c:read_response(60)
        assert.is_true(response.complete)
        assert.equal(3 * 64 * 65536 + 3 * 300 * 1000, #response.body)
        local left = response.body
        for i = 1, 3 do
          local letter = ("abc"):sub(i, i)
          local file = (letter:rep(65535) .. "\n"):rep(64)
          local first = assert(left:find(letter, 1, true))
          assert.is_true(left:sub(first, first + #file - 1) == file, "file " .. i .. " is not in one piece")
          left = left:sub(1, first - 1) .. left:sub(first + #file)
        end
        for line in left:gmatch("([^\n]*)\n") do assert.equal(line:sub(1, 1):rep(999), line) end
      end)
    end

    it("behind a file that another still sends, to its end", function()
      local c <close> = stream("/file-ends-it", { rcvbuf = 65536 })
      harness.sleep(0.1)
      local response = c:read_response(30)
      assert.is_true(response.complete)
      assert.equal(64 * 65536 + 7, #response.body)
      assert.equal("the end", response.body:sub(-7))
      c:send("GET /notes HTTP/1.1\r\nHost: a\r\n\r\n")
      assert.equal(200, c:read_response().status)
    end)

    it("not behind a file that was cut short: that breaks it (B33)", function()
      local c <close> = stream("/cut-file", { rcvbuf = 4096 })
      harness.sleep(0.2)
      local response = c:read_response(30)
      assert.is_false(response.complete)
      assert.is_nil(response.body:find("after", 1, true))
    end)

    it("not behind one that became shorter meanwhile, either (B23, B33)", function()
      local c <close> = stream("/shrinks", { rcvbuf = 4096 })
      assert(c:read_until("dddd"))
      server.write(folder .. "/file5", "")
      local rest = c:read_all(30)
      await_note("the file became shorter")
      assert.is_nil(rest:find("after", 1, true))
      assert.not_equal("0\r\n\r\n", rest:sub(-5))
    end)

    it("until the client goes, and are closed, all that wait for it (B13, B20)", function()
      local c = stream("/flooding", { rcvbuf = 4096 })
      assert(c:read_until("\r\n\r\n"))
      harness.sleep(0.1)
      c:reset()
      for i = 1, 3 do await_note("flood " .. i) end
    end)

    it("not after its end: that is an error of theirs", function()
      local c <close> = stream("/after-the-end")
      assert.equal("body", c:read_response().body)
      await_note("the body has ended: out was closed")
    end)
  end)

  describe("leave that of another", function()
    it("to its own tasks, but for what a writer was given out for", function()
      local c <close> = stream("/keeps")
      assert(c:read_until("kept "))
      local _, count = get("/others").body:gsub("only the exchange's own tasks can write", "")
      assert.equal(3, count)
      get("/go-on")
      assert(c:read_until("by another "))
    end)

    it("and are told when it has ended while they wait for its client", function()
      local c = stream("/keeps", { rcvbuf = 4096 })
      assert(c:read_until("kept "))
      local other = stream("/floods-others")
      harness.sleep(0.1)
      c:reset()
      assert.equal("closed", other:read_response().body)
      other:close()
    end)
  end)

  it("can not wait for the request's body both", function()
    local c <close> = raw.connect(s.port)
    c:send("POST /read-twice HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    harness.sleep(0.05)
    c:send("hello")
    assert.equal("hello", c:read_response().body)
    await_note("another task waits for the request's body already")
  end)
end)

describe("the tasks of a script", function()
  it("end when another has taken its place, and its exchanges are over (B57)", function()
    local text = [[
      local tg = require("tidegate")
      tg.spawn(function()
        local x <close> = setmetatable({}, { __close = function() tg.log.info("NUMBER has ended") end })
        tg.log.info("NUMBER begins")
        tg.sleep(1000)
      end)
      return { routes = { { "/", get = function() return { body = "NUMBER" } end } } }]]
    local s <close> = server.start({ script = text:gsub("NUMBER", "one") })
    s:wait_log("one begins")
    server.write(s.script, (text:gsub("NUMBER", "two")))
    s:kill("HUP")
    s:wait_log("two begins")
    assert.equal("two", raw.get(s.port, "/").body)
    s:wait_log("one has ended")
  end)

  it("are not begun when it does not load", function()
    local s <close> = server.start({ script = "return { routes = {} }" })
    server.write(s.script, [[
      require("tidegate").spawn(function() require("tidegate").log.info("began") end)
      error("does not load")]])
    s:kill("HUP")
    s:wait_log("does not load")
    assert.not_matches("began", s:log_text())
  end)
end)

describe("detached tasks", function()
  local DETACHING = [[
    local tg = require("tidegate")
    return { limits = { drain = DRAIN }, on_stop = STOPPING, routes = {
      { "/save", get = function()
        tg.detach(function()
          local x <close> = setmetatable({}, { __close = function() tg.log.info("NUMBER closed") end })
          tg.sleep(SECONDS)
          tg.log.info("NUMBER saved")
        end)
        tg.sleep(0.001)
        return { body = "saving" }
      end },
    } }]]

  local function script(number, seconds, drain, on_stop)
    return (DETACHING:gsub("%u%u%u%u%u+", {
      NUMBER = number, SECONDS = seconds, DRAIN = drain, STOPPING = on_stop or "nil",
    }))
  end

  local function save_and_reload(s)
    assert.equal("saving", raw.get(s.port, "/save").body)
    server.write(s.script, script("two", 0, 10))
    s:kill("HUP")
    s:wait_log("generation 2 in")
  end

  it("are waited for when another script takes the place of theirs (B57)", function()
    local s <close> = server.start({ script = script("one", 0.3, 10) })
    save_and_reload(s)
    raw.get(s.port, "/save")
    s:wait_log("two saved")
    s:wait_log("one saved")
  end)

  it("are waited for when the gateway stops, after on_stop (B61)", function()
    local s = server.start({ script = script("one", 0.3, 10, "function() tg.log.info('on_stop') end") })
    raw.get(s.port, "/save")
    s:stop()
    assert.matches("on_stop\n.*one saved\n.*one closed", s:log_text())
  end)

  it("are cancelled when the drain limit has passed (B61)", function()
    local s = server.start({ script = script("one", 100, 0.1) })
    raw.get(s.port, "/save")
    s:stop()
    assert.matches("one closed", s:log_text())
    assert.not_matches("one saved", s:log_text())
  end)

  it("of a script that was replaced are, too, and the log says how many (B57)", function()
    local s <close> = server.start({ script = script("one", 100, 0.1) })
    save_and_reload(s)
    s:wait_log("detached tasks: 1 are cancelled, by limits.drain")
    s:wait_log("one closed")
    assert.is_nil(s:log_text():find("one saved", 1, true))
  end)
end)

describe("a task that computes", function()
  if server.threads_sanitized then return end
  local s

  setup(function()
    s = server.start({ args = { "--quiet" }, script = [[
      local tg = require("tidegate")
      local function spin() while true do end end
      return { limits = { slice = 0.005, script = 0.5 }, routes = {
        { "/cancelled", get = function()
          local closed
          local task = tg.spawn(function()
            local x <close> = setmetatable({}, { __close = function() closed = true end })
            spin()
          end)
          tg.sleep(0.01)
          task:cancel()
          return { body = task:status() .. " " .. tostring(closed) }
        end },
        { "/timed", get = function() return { body = tostring(select(2, pcall(tg.timeout, 0.02, spin))) } end },
        { "/joined", get = function() tg.spawn(function() while true do pcall(spin) end end):join() end },
      } }]] })
  end)
  teardown(function() s:stop() end)

  it("is cancelled between its turns, as one that waits", function()
    assert.equal("cancelled true", raw.get(s.port, "/cancelled").body)
    assert.equal("no result within 0.02 s", raw.get(s.port, "/timed").body)
  end)

  it("for too long fails, and who joins it with it: 503 (B63)", function()
    assert.equal(503, raw.get(s.port, "/joined", 30).status)
    s:wait_log("computed for more than 0.500 s .*in the task that was joined")
  end)
end)

describe("what the tasks of exchanges hold", function()
  it("is given back: descriptors and memory (B15)", function()
    local s <close> = server.start({ args = { "--quiet" }, script = [[
      local tg = require("tidegate")
      return { routes = {
        { "/memory", get = function()
          collectgarbage() collectgarbage()
          return { body = tostring(collectgarbage("count") * 1024) }
        end },
        { "/many", get = function()
          local t = tg.spawn(function() local f <close> = io.open("/dev/null") tg.sleep(100) end)
          pcall(tg.timeout, 0.001, function() local f <close> = io.open("/dev/null") tg.sleep(100) end)
          tg.all { function() tg.sleep(0) end, function() return io.open("/dev/null"):close() end }
          pcall(tg.spawn(error, "x").join, tg.spawn(error, { message = "logged" }))
          return { body = function(out) tg.spawn(function() out:write("x") out:flush() tg.sleep(100) end) tg.sleep(0.001) end }
        end },
      } }]] })
    local function round(n)
      for _ = 1, n do assert.equal("x", raw.get(s.port, "/many").body) end
      return tonumber(raw.get(s.port, "/memory").body)
    end
    round(50)
    local before, fds = round(50), s:fds()
    local after = round(200)
    assert.is_true(after - before < 4096, ("%d bytes more"):format(after - before))
    server.eventually(function() return s:fds() <= fds end) -- the last connection may still close
  end)
end)

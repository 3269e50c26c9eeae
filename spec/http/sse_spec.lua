-- tg.sse over real sockets: what goes out, when, and what becomes of it when somebody leaves.
local event_source = require("event_source")
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local open = event_source.open

local SCRIPT = [[
local tg = require("tidegate")
local notes, resume, kept = {}, {}, {}
local function note(text) notes[#notes + 1] = tostring(text) end
local function hold(name)
  tg.wait(function(go) resume[name] = go end)
end
local function watch(name, run, options)
  local handler = tg.sse(run, options)
  return function(request, ctx)
    ctx:on_close(function(reason) note(name .. " " .. reason) end)
    return handler(request, ctx)
  end
end
local function error_of(f, ...)
  local ok, why = pcall(f, ...)
  return ok and "nothing was raised" or tostring(why)
end
local values = {
  text = "hello", lines = "a\nb\r\nc\rd", trailing = "a\n", empty = "", spaces = " a",
  integer = 42, float = 1.5, yes = true, no = false, null = tg.json.null,
  list = { 1, "two", { three = 3 } }, map = { b = 1, a = "x\ny" }, empty_list = tg.json.array({}),
}

return {
  limits = { connections = 5000 },
  routes = {
    { "/head", get = tg.sse(function() hold("head") end) },
    { "/post", post = tg.sse(function(events, ctx) events:send(ctx.request.body:all()) end) },
    { "/headers", get = tg.sse(function() end, { headers = { ["cache-control"] = "no-store", ["X-A"] = { "1", "2" } } }) },
    { "/retry", get = tg.sse(function(events) events:send("x") end, { retry = 1234 }) },
    { "/event", get = tg.sse(function(events)
      events:send({ event = "tick", id = "7", retry = 2500, data = "a\nb" })
      events:send({ id = "8", data = "c" }):send("d")
      events:send({ event = "bare" })
      events:send({ id = "9" })
      events:send({ retry = 50 })
      events:send({ id = 10, event = 11, data = 12 })
      events:send({ id = "", data = "forgotten" })
    end) },
    { "/value/:name", get = tg.sse(function(events, ctx) events:send({ data = values[ctx.request.path_params.name] }) end) },
    { "/bare/:name", get = tg.sse(function(events, ctx) events:send(values[ctx.request.path_params.name]) end) },
    { "/slow-value", get = tg.sse(function(events)
      events:send({ data = tg.generate(function(yield) yield(1) tg.sleep(0.05) yield(2) end) })
    end) },
    { "/mistakes", get = tg.sse(function(events)
      for _, c in ipairs({ "\n", "\r", "\0" }) do
        events:send(error_of(events.send, events, { event = "a" .. c, data = "x" }))
        events:send(error_of(events.send, events, { id = c .. "a", data = "x" }))
      end
      events:send(error_of(events.send, events, { id = ("x"):rep(1025) }))
      events:send(error_of(events.send, events, { dota = "x" }))
      events:send(error_of(events.send, events, {}))
      events:send(error_of(events.send, events))
      events:send(error_of(events.send, events, { data = 0 / 0 }))
      events:send(error_of(events.send, events, { event = {} }))
      events:send(error_of(events.send, events, { retry = 1.5 }))
      events:send(error_of(events.send, events, { retry = -1 }))
      events:send(error_of(events.send, events, { data = print }))
      events:send(error_of(events.send, events, { data = { a = print } }))
      events:send(error_of(events.subscribe, events, "no topic"))
      events:send(error_of(events.send, {}, "x"))
    end) },
    { "/options", get = function()
      local parts = {}
      for _, options in ipairs({ { heartbeat = -1 }, { heartbeat = 0.01 }, { heartbeat = "1" }, { heartbeat = 0 / 0 },
        { retry = 0 }, { retry = "x" }, { retry = 1.5 }, { headers = 1 }, { headers = { ["Content-TYPE"] = "x" } },
        { hartbeat = 1 } }) do
        parts[#parts + 1] = error_of(tg.sse, print, options):gsub("^.-: ", "", 1)
      end
      parts[#parts + 1] = error_of(tg.sse):gsub("^.-: ", "", 1)
      parts[#parts + 1] = error_of(tg.sse, print, 1):gsub("^.-: ", "", 1)
      return { body = table.concat(parts, "\n") }
    end },
    { "/comment", get = tg.sse(function(events) events:comment():comment("a\ndata: b"):send("x") end) },
    { "/last-id", get = tg.sse(function(events) events:send({ data = events.last_id or tg.json.null }) end) },
    { "/idle", get = tg.sse(function() hold("idle") end, { heartbeat = 0.2 }) },
    { "/busy", get = tg.sse(function(events) for i = 1, 15 do events:send(i) tg.sleep(0.05) end end, { heartbeat = 0.2 }) },
    { "/quiet/:how", get = function(request, ctx)
      local heartbeat = request.path_params.how == "zero" and 0
      return tg.sse(function() hold("quiet") end, { heartbeat = heartbeat })(request, ctx)
    end },
    { "/thousand", get = tg.sse(function() hold("none") end, { heartbeat = 1 }) },
    { "/watched", get = watch("watched", function() hold("watched") end) },
    { "/flood", get = watch("flood", function(events)
      local ok, why = pcall(function()
        for i = 1, 1e9 do events:send(("x"):rep(1000)) note_count = i end
      end)
      note(not ok and why == tg.closed and "closed" or why)
      error(why)
    end) },
    { "/count", get = function() return { body = tostring(note_count) } end },
    { "/leaves", get = {
      { name = "outer", enter = function(ctx) note("enter") end,
        leave = function(ctx) note("leave") ctx.response = nil end },
      tg.sse(function(events) events:send("x") hold("leaves") note("returned") end) } },
    { "/raises", get = tg.sse(function(events) events:send("x"):flush() error("oops") end) },
    { "/returns", get = tg.sse(function(events) events:send("x") return { status = 404 } end) },
    { "/closes", get = watch("closes", function(events)
      events:send("x")
      events:close()
      events:close()
      note(error_of(events.send, events, "y"))
      hold("closes")
    end) },
    { "/kept", get = tg.sse(function(events) kept.events = events events:send("x") end) },
    { "/use-kept", get = function()
      local ok, why = pcall(kept.events.send, kept.events, "late")
      kept.events:close()
      local text = tostring(ok) .. " " .. tostring(why == tg.closed) .. " " .. tostring(kept.events.last_id)
      kept.events = nil
      collectgarbage() collectgarbage()
      return { body = text }
    end },
    { "/two-tasks", get = tg.sse(function(events)
      local list = {}
      for t = 1, 3 do
        list[t] = tg.spawn(function()
          for i = 1, 40 do
            events:send({ event = "t" .. t, data = { tg.generate(function(yield) yield(i) tg.sleep(0.001) yield(("x"):rep(20000)) end) } })
          end
        end)
      end
      for _, task in ipairs(list) do task:join() end
    end) },
    { "/beside", get = tg.sse(function(events)
      tg.spawn(function() for i = 1, 5 do events:send({ event = "own", data = i }) tg.sleep(0.02) end note("sent") end)
      events:subscribe(tg.topic("beside"))
      note("over")
    end) },
    { "/twice", get = tg.sse(function(events)
      tg.spawn(function() events:subscribe(tg.topic("twice")) note("first over") end)
      tg.sleep(0.01)
      events:send(error_of(events.subscribe, events, tg.topic("other")))
      events:close()
      tg.sleep(0.01)
    end) },
    { "/again", get = tg.sse(function(events)
      local task = tg.spawn(function() events:subscribe(tg.topic("again")) end)
      tg.sleep(0.01)
      task:cancel()
      tg.sleep(0.01)
      events:send("cancelled")
      events:subscribe(tg.topic("again"))
    end) },
    { "/detached", get = watch("detached", function(events)
      tg.detach(function()
        local ok, why = pcall(events.subscribe, events, tg.topic("detached"))
        note("task " .. tostring(ok) .. " " .. tostring(why == tg.closed))
      end)
      hold("detached")
    end) },
    { "/room/:name", get = watch("room", function(events, ctx)
      events:subscribe(tg.topic(ctx.request.path_params.name))
    end), post = function(request)
      return { body = tg.topic(request.path_params.name):publish({ data = request.body:all() }) }
    end },
    { "/after/:name", get = tg.sse(function(events, ctx)
      local after = ctx.request.query.id
      if after == "false" then after = false end
      events:subscribe(tg.topic(ctx.request.path_params.name), { after = after })
    end) },
    { "/filtered/:name", get = tg.sse(function(events, ctx)
      for event in tg.topic(ctx.request.path_params.name):events(events.last_id) do
        if not event.id or event.data % 2 == 0 then events:send(event) end
      end
    end) },
    { "/publish/:name", post = function(request)
      local room = tg.topic(request.path_params.name, { history = 10000 })
      for i = tonumber(request.query.from), tonumber(request.query.to) do room:publish(tostring(i)) end
      return { body = "" }
    end },
    { "/close/:name", post = function(request) tg.topic(request.path_params.name):close() return { body = "" } end },
    { "/subscribers/:name", get = function(request) return { body = tostring(tg.topic(request.path_params.name):subscribers()) } end },
    { "/forever", get = watch("forever", function(events)
      while true do
        events:subscribe(tg.topic("forever"))
        note("again")
      end
    end) },
    { "/resume/:name", get = function(request)
      local name = request.path_params.name
      return { body = tostring(resume[name] ~= nil and resume[name]()) }
    end },
    { "/notes", get = function()
      local text = table.concat(notes, ",")
      notes = {}
      return { body = text }
    end },
    { "/memory", get = function()
      collectgarbage() collectgarbage()
      return { body = tostring(collectgarbage("count")) }
    end },
    { "/now", get = function() return { body = "now" } end },
  },
}
]]

local function get(s, path) return assert(raw.get(s.port, path, 20)).body end

local function post(s, path, body)
  local text = ("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"):format(path, #(body or ""), body or "")
  local response = assert(raw.request(s.port, text, 20))
  assert.equal(200, response.status)
  return response.body
end

--- The notes of the script, until they are as the pattern says.
local function await_notes(s, pattern)
  local notes = ""
  server.eventually(function()
    local more = get(s, "/notes")
    if more ~= "" then notes = notes .. (notes ~= "" and "," or "") .. more end
    return notes:find(pattern)
  end)
  return notes
end

--- Both, until a stream of that path waits for it.
local function resume(s, name)
  server.eventually(function() return get(s, "/resume/" .. name) == "true" end)
end

describe("an event stream", function()
  local s

  setup(function() s = server.start({ script = SCRIPT, args = { "--quiet" } }) end)
  teardown(function() s:stop() end)
  before_each(function() get(s, "/notes") end)

  describe("begins", function()
    it("with a head that is there before the first event (B42)", function()
      local stream <close> = open(s.port, "/head")
      assert.equal(200, stream.head.status)
      assert.same({ "text/event-stream; charset=utf-8" }, stream.head.headers["content-type"])
      assert.same({ "no-cache" }, stream.head.headers["cache-control"])
      assert.same({ "no" }, stream.head.headers["x-accel-buffering"])
      resume(s, "head")
      assert.same({ {}, "ended" }, { stream:rest() })
    end)

    it("with headers of the script's own (B42)", function()
      local stream <close> = open(s.port, "/headers")
      assert.same({ "no-store" }, stream.head.headers["cache-control"])
      assert.same({ "1", "2" }, stream.head.headers["x-a"])
      assert.same({ "text/event-stream; charset=utf-8" }, stream.head.headers["content-type"])
    end)

    it("with the time to wait before one comes back, if it says one (B43)", function()
      local stream <close> = open(s.port, "/retry")
      stream:rest()
      assert.equal("retry: 1234\n\ndata: x\n\n", stream.all)
    end)

    it("for any method and for any Accept", function()
      local stream <close> = open(s.port, "/post", { method = "POST", body = "posted" })
      assert.equal("posted", stream:event().data)
      local other <close> = open(s.port, "/retry", { fields = "Accept: application/json\r\n" })
      assert.equal(200, other.head.status)
      assert.equal("x", other:event().data)
    end)

    it("and is over at once for HEAD, with the same head (B29)", function()
      local client <close> = assert(raw.connect(s.port))
      client:send("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\nGET /now HTTP/1.1\r\nHost: a\r\n\r\n")
      local head = assert(client:read_head(5, { head = true }))
      assert.same({ "text/event-stream; charset=utf-8" }, head.headers["content-type"])
      assert.equal("now", client:read_response().body)
    end)

    it("for a client of HTTP/1.0, too, whose connection it ends (B31)", function()
      local stream <close> = open(s.port, "/event", { version = "1.0" })
      assert.equal("close", stream.head.framing)
      local events, why = stream:rest()
      assert.equal(6, #events)
      assert.equal("ended", why)
    end)
  end)

  describe("sends", function()
    it("event, id, retry and data, in this order (B43)", function()
      local stream <close> = open(s.port, "/event")
      stream:rest()
      assert.equal(table.concat({
        "event: tick\nid: 7\nretry: 2500\ndata: a\ndata: b\n",
        "id: 8\ndata: c\n", "data: d\n", "event: bare\ndata: \n", "id: 9\n", "retry: 50\n",
        "event: 11\nid: 10\ndata: 12\n", "id: \ndata: forgotten\n", "",
      }, "\n"), stream.all)
    end)

    it("texts as they are, what is no text as JSON (B43)", function()
      for name, wanted in pairs({
        text = "hello", lines = "a\nb\nc\nd", trailing = "a\n", empty = "", spaces = " a",
        integer = "42", float = "1.5", yes = "true", no = "false", null = "null",
        list = '[1,"two",{"three":3}]', map = '{"a":"x\\ny","b":1}', empty_list = "[]",
      }) do
        local stream <close> = open(s.port, "/value/" .. name)
        assert.same({ name, wanted }, { name, (stream:event() or {}).data })
        assert.same({ {}, "ended" }, { stream:rest() })
      end
      for _, name in ipairs({ "text", "integer", "float", "yes", "no" }) do
        local bare <close> = open(s.port, "/bare/" .. name)
        local value <close> = open(s.port, "/value/" .. name)
        assert.equal(value:event().data, bare:event().data)
      end
      local slow <close> = open(s.port, "/slow-value")
      assert.equal("[1,2]", slow:event().data)
    end)

    it("comments of any text, which nobody takes for an event (B44)", function()
      local stream <close> = open(s.port, "/comment")
      assert.same({ "x" }, stream:take(1))
      assert.equal(": \n\n: a\n: data: b\n\ndata: x\n\n", stream.all)
    end)

    it("nothing that would be another event, or none (B44)", function()
      local stream <close> = open(s.port, "/mistakes")
      local texts = stream:take(18)
      for i = 1, 6 do assert.matches("event and id have no line break and no NUL", texts[i]) end
      for i, wanted in ipairs({
        "at most 1024 bytes", "this has dota", "there is nothing in this event", "value expected",
        "NaN and the infinities", "event is a string, this is a table", "retry is an integer",
        "retry is an integer", "%$.*function", "%$%.a.*function", "tidegate.Topic expected",
        "tidegate.Events expected",
      }) do
        assert.matches(wanted, texts[6 + i])
      end
    end)

    it("a comment each heartbeat while it is idle, and none while it is not (B44)", timed(function()
      local idle <close> = open(s.port, "/idle")
      local from = harness.now()
      server.eventually(function() idle:event(0.05) return idle.comments >= 4 end)
      assert.is_true(harness.now() - from >= 4 * 200 - 20, "too early")
      assert.is_true(harness.now() - from < 4 * 200 * 3, "too late")
      assert.matches("^[:\n]*$", idle.all)
      local busy <close> = open(s.port, "/busy")
      local events = busy:rest()
      assert.equal(15, #events)
      -- 50 ms between events; more than 200 ms only when the machine is loaded.
      local slowest = 0
      for i = 2, 15 do slowest = math.max(slowest, events[i].at - events[i - 1].at) end
      assert.is_true(busy.comments == 0 or slowest > 150)
    end))

    it("no heartbeat where none is wanted (B44)", function()
      for _, how in ipairs({ "zero", "false" }) do
        local stream <close> = open(s.port, "/quiet/" .. how)
        assert.equal(0, stream:listen(0.3))
      end
    end)

    it("the heartbeats of many together, in few turns of the loop (B44)", function()
      local streams <const> = {}
      for i = 1, 300 do
        streams[i] = open(s.port, "/thousand")
        harness.sleep(0.003) -- they begin at moments of their own
      end
      local function switches()
        return tonumber(server.read("/proc/" .. s.pid .. "/status"):match("\nvoluntary_ctxt_switches:%s*(%d+)"))
      end
      local before = switches()
      harness.sleep(2.2)
      local count = switches() - before
      local comments = 0
      for _, stream in ipairs(streams) do
        pcall(stream.listen, stream, 0.001)
        comments = comments + stream.comments
        stream:close()
      end
      assert.is_true(comments >= 300, comments .. " comments")
      assert.is_true(count < comments / 3, count .. " turns for " .. comments)
    end)

    it("no more than a slow client takes, and nobody else notices (B20)", function()
      local stream <close> = open(s.port, "/flood", { connect = { rcvbuf = 4096 } })
      local last
      server.eventually(function()
        local count = get(s, "/count")
        local same = count == last and count ~= "nil"
        last = count
        harness.sleep(0.05)
        return same
      end)
      local rss = s:rss()
      harness.sleep(0.1)
      assert.equal(last, get(s, "/count"))
      assert.is_true(s:rss() - rss < 1024)
      stream:take(tonumber(last) + 10)
      server.eventually(function() return tonumber(get(s, "/count")) > tonumber(last) end)
      stream:close()
      assert.matches("flood client_closed", await_notes(s, "flood client_closed"))
    end)

    it("whole events from several tasks at a time", function()
      local stream <close> = open(s.port, "/two-tasks")
      local events, why = stream:rest(20)
      assert.equal("ended", why)
      assert.equal(120, #events)
      local seen = { t1 = 0, t2 = 0, t3 = 0 }
      for _, event in ipairs(events) do
        seen[event.type] = seen[event.type] + 1
        assert.equal(('[[%d,"%s"]]'):format(seen[event.type], ("x"):rep(20000)), event.data)
      end
    end)
  end)

  describe("knows the last id of its client", function()
    local function last_id(fields, target)
      local stream <close> = open(s.port, target or "/last-id", { fields = fields })
      return stream:event().data
    end

    it("by Last-Event-ID, or by the query (B45)", function()
      assert.equal("7", last_id("Last-Event-ID: 7\r\n"))
      assert.equal("a b\u{e9}", last_id("last-event-id: a b\u{e9}\r\n"))
      assert.equal("8", last_id("", "/last-id?after=8"))
      assert.equal("9", last_id("Last-Event-ID: 9\r\n", "/last-id?after=8"))
      assert.equal("null", last_id(""))
      assert.equal("null", last_id("Last-Event-ID: \r\n"))
      assert.equal("a b", last_id("", "/last-id?x=1&after=a%20b&y=2"))
      for _, query in ipairs({ "after=", "after", "before=1", "x=1&y=2", "after=&after=1" }) do
        assert.equal("null", last_id("", "/last-id?" .. query))
      end
    end)

    it("unless that is no id (B45)", function()
      assert.equal(("x"):rep(1024), last_id("Last-Event-ID: " .. ("x"):rep(1024) .. "\r\n"))
      assert.equal("null", last_id("Last-Event-ID: " .. ("x"):rep(1025) .. "\r\n"))
      assert.equal("null", last_id("", "/last-id?after=a%00b"))
      local response = raw.request(s.port, "GET /last-id HTTP/1.1\r\nHost: a\r\nLast-Event-ID: a\0b\r\n\r\n")
      assert.equal(400, response.status)
    end)
  end)

  describe("ends", function()
    it("when its client leaves, within 100 ms and without a write (B46, B13)", timed(function()
      local stream = open(s.port, "/watched")
      server.eventually(function() return stream end)
      local notes
      local from = harness.now()
      stream:close()
      server.eventually(function()
        notes = get(s, "/notes")
        return notes ~= ""
      end)
      assert.equal("watched client_closed", notes)
      assert.is_true(harness.now() - from < (server.sanitized and 500 or 100))
    end))

    it("by tg.closed from send when its client has left (B46)", function()
      local stream = open(s.port, "/flood")
      stream:take(3)
      stream.client:reset()
      local notes = await_notes(s, "flood client_closed")
      assert.is_truthy(notes == "closed,flood client_closed" or notes == "flood client_closed", notes)
    end)

    it("when its function returns, and its connection goes on (B46)", function()
      local stream <close> = open(s.port, "/leaves")
      assert.equal("x", stream:event().data)
      assert.equal("enter", get(s, "/notes"))
      resume(s, "leaves")
      assert.same({ {}, "ended" }, { stream:rest() })
      stream.client:send("GET /now HTTP/1.1\r\nHost: a\r\n\r\n")
      assert.equal("now", stream.client:read_response().body)
      assert.equal("returned,leave", get(s, "/notes"))
    end)

    it("whatever its function returns", function()
      local stream <close> = open(s.port, "/returns")
      assert.same({ { "x" }, nil }, { stream:take(1) })
      assert.same({ {}, "ended" }, { stream:rest() })
    end)

    it("when it is closed, after which nothing can be sent", function()
      local stream <close> = open(s.port, "/closes")
      assert.equal("x", stream:event().data)
      assert.same({ {}, "ended" }, { stream:rest() })
      assert.matches("the stream has ended: events was closed", await_notes(s, "closed"))
      resume(s, "closes")
      assert.equal("closes done", await_notes(s, "closes"))
    end)

    it("as a broken one when its function raises (B33)", function()
      local stream <close> = open(s.port, "/raises")
      assert.equal("x", stream:event().data)
      local event, why = stream:event()
      assert.is_nil(event)
      assert.is_truthy(why == "closed" or why == "reset", why)
      s:wait_log("GET /raises: aborted after 9 bytes.*oops")
    end)

    it("for a script that keeps it, too", function()
      local stream <close> = open(s.port, "/kept", { id = "5" })
      assert.same({ "x" }, stream:take(1))
      assert.same({ {}, "ended" }, { stream:rest() })
      assert.equal("false true 5", get(s, "/use-kept"))
    end)

    it("without a trace (B15)", function()
      local function round()
        for _ = 1, 30 do
          local idle, room = open(s.port, "/idle"), open(s.port, "/room/round")
          idle:close()
          room:close()
          local other <close> = open(s.port, "/event")
          other:rest()
        end
        server.eventually(function() return get(s, "/subscribers/round") == "0" end)
        get(s, "/notes")
        return tonumber(get(s, "/memory"))
      end
      round()
      local fds, before = s:fds(), round()
      for _ = 1, 4 do round() end
      local after = round()
      assert.is_true(after - before < 20, ("%.1f KiB of Lua's memory"):format(after - before))
      server.eventually(function() return s:fds() <= fds end)
    end)
  end)

  describe("that is subscribed to a topic", function()
    local function await_subscribers(name, count)
      server.eventually(function() return get(s, "/subscribers/" .. name) == tostring(count) end)
    end

    it("gets what is published, and ends when the topic does (B45)", function()
      local stream <close> = open(s.port, "/room/a")
      await_subscribers("a", 1)
      local id = post(s, "/room/a", "one\ntwo")
      local event = stream:event()
      assert.same({ "one\ntwo", id, "message" }, { event.data, event.id, event.type })
      post(s, "/close/a")
      assert.same({ {}, "ended" }, { stream:rest() })
      assert.equal("room done", await_notes(s, "room"))
    end)

    it("gets what follows the last id, nothing left out and nothing twice (B45)", function()
      local count, expected = 3000, 1
      post(s, "/publish/b?from=1&to=0")
      local publisher <close> = assert(raw.connect(s.port))
      local stream = open(s.port, "/room/b")
      await_subscribers("b", 1)
      for n = 1, count, 10 do
        publisher:send(("POST /publish/b?from=%d&to=%d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"):format(n, n + 9))
      end
      math.randomseed(45)
      while expected <= count do
        for _ = 1, math.random(1, 120) do
          local event = assert(stream:event())
          assert.same({ "message", tostring(expected) }, { event.type, event.data })
          expected = expected + 1
          if expected > count then break end
        end
        stream:close()
        stream = open(s.port, "/room/b", { id = stream.id })
      end
      assert.equal(0, stream:listen(0.1))
      stream:close()
      for _ = 1, count, 10 do assert.equal(200, publisher:read_response().status) end
    end)

    it("begins where it is told to (B45)", function()
      post(s, "/publish/c?from=1&to=3")
      local stream <close> = open(s.port, "/after/c?id=false", { id = "whatever" })
      await_subscribers("c", 1)
      local id = post(s, "/room/c", "4")
      assert.equal("4", stream:event().data)
      post(s, "/room/c", "5")
      local other <close> = open(s.port, "/after/c?id=" .. id, { id = "whatever" })
      assert.equal("5", other:event().data)
    end)

    it("may be filtered by the script, event by event (B45)", function()
      local stream <close> = open(s.port, "/filtered/d")
      await_subscribers("d", 1)
      post(s, "/publish/d?from=1&to=6")
      assert.same({ "2", "4", "6" }, (stream:take(3)))
      local id = stream.id
      post(s, "/publish/d?from=7&to=8")
      local other <close> = open(s.port, "/filtered/d", { id = id })
      local event = other:event()
      assert.equal("8", event.data)
      local lost <close> = open(s.port, "/filtered/d", { id = "of another start" })
      await_subscribers("d", 3)
      local gap = lost:event()
      assert.same({ "tidegate-gap", '{"missed":null}' }, { gap.type, gap.data })
      assert.same({ "2", "4" }, (lost:take(2)))
    end)

    it("is over for the topic when its client leaves (B46)", function()
      local stream = open(s.port, "/room/e")
      await_subscribers("e", 1)
      stream:close()
      assert.equal("room client_closed", await_notes(s, "room"))
      assert.equal("0", get(s, "/subscribers/e"))
      post(s, "/room/e", "x")
    end)

    it("may be sent other events meanwhile", function()
      local stream <close> = open(s.port, "/beside")
      await_subscribers("beside", 1)
      for i = 1, 5 do post(s, "/room/beside", tostring(i)) end
      await_notes(s, "sent")
      local of = { own = {}, message = {} }
      for _ = 1, 10 do
        local event = assert(stream:event())
        table.insert(of[event.type], event.data)
      end
      assert.same({ "1", "2", "3", "4", "5" }, of.own)
      assert.same({ "1", "2", "3", "4", "5" }, of.message)
      post(s, "/close/beside")
      assert.same({ {}, "ended" }, { stream:rest() })
    end)

    it("is subscribed to one at a time, and by closing it to none", function()
      local stream <close> = open(s.port, "/twice")
      assert.matches("another body is being written", stream:event().data)
      assert.same({ {}, "ended" }, { stream:rest() })
      assert.equal("first over", await_notes(s, "over"))
      assert.equal("0", get(s, "/subscribers/twice"))
    end)

    it("may be subscribed again when the task that was is cancelled", function()
      local stream <close> = open(s.port, "/again")
      assert.equal("cancelled", stream:event().data)
      await_subscribers("again", 1)
      post(s, "/room/again", "x")
      assert.equal("x", stream:event().data)
    end)

    it("is not for a task that outlives its exchange (B15)", function()
      local stream = open(s.port, "/detached")
      await_subscribers("detached", 1)
      stream:close()
      local notes = await_notes(s, "task")
      assert.matches("detached client_closed", notes)
      assert.matches("task false true", notes)
      assert.equal("0", get(s, "/subscribers/detached"))
      post(s, "/room/detached", "x")
    end)

    it("shares one formatted copy with all the others (B47)", function()
      local streams, size = {}, 500000
      for i = 1, 1000 do streams[i] = open(s.port, "/room/many", { connect = { rcvbuf = 4096 } }) end
      await_subscribers("many", 1000)
      local before = s:rss()
      post(s, "/room/many", ("x"):rep(size))
      for _, stream in ipairs(streams) do assert(stream.client:read_until("x", 20)) end
      -- Most of it waits in the server: 1,000 copies would be half a gigabyte.
      local grown = s:rss() - before
      assert.is_true(grown < (server.sanitized and 65536 or 16384), grown .. " KiB")
      for _, stream in ipairs(streams) do stream:close() end
      await_subscribers("many", 0)
    end)
  end)

  it("refuses options that mean nothing", function()
    local text = get(s, "/options")
    local lines = {}
    for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
    for i, wanted in ipairs({
      "heartbeat is seconds", "heartbeat is seconds", "heartbeat is seconds", "heartbeat is seconds",
      "retry is milliseconds", "retry is milliseconds", "retry is milliseconds", "headers is a table",
      "headers cannot have Content%-TYPE", "unknown option hartbeat", "expected a function", "options is a table",
    }) do
      assert.matches(wanted, lines[i])
    end
  end)
end)

describe("a stop", function()
  it("ends event streams as they are, and tells them when to come back (B61)", timed(function()
    local s <close> = server.start({ script = SCRIPT })
    local streams = {}
    for _, path in ipairs({ "/idle", "/leaves", "/room/a", "/forever", "/beside", "/retry" }) do
      streams[#streams + 1] = open(s.port, path)
    end
    server.eventually(function() return get(s, "/subscribers/forever") == "1" end)
    local from = harness.now()
    s:kill("TERM")
    for _, stream in ipairs(streams) do
      local _, why = stream:rest()
      assert.equal("ended", why)
      assert.matches("\n\n$", stream.all)
    end
    for i = 1, 5 do
      assert.is_true(streams[i].retry >= 1500 and streams[i].retry <= 4500, tostring(streams[i].retry))
    end
    assert.is_true(streams[1].retry ~= streams[3].retry, "all at once")
    assert.equal(0, s:wait_exit())
    assert.is_true(harness.now() - from < 5000, "it waited for them")
    local log = s:log_text()
    for _, path in ipairs({ "/idle", "/leaves", "/room/a", "/forever" }) do
      assert.matches("GET " .. path:gsub("%p", "%%%0") .. " 200 [^\n]* shutdown %x+%-%x+\n", log)
    end
  end))
end)

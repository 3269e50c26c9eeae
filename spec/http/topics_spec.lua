-- Topics over real sockets: who gets what, in which order, and what becomes of the slow ones.
local cjson = require("cjson")
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local SCRIPT = [[
local tg = require("tidegate")
local closed = {}
local options = {
  beat = { heartbeat = 0.2 },
  short = { history = 5 },
  none = { history = 0 },
  old = { max_age = 0.05 },
  dropping = { history = 20, heartbeat = 0 },
  latest = { history = 20, overflow = "latest", heartbeat = 0 },
  closing = { history = 20, overflow = "close", heartbeat = 0 },
  blocking = { history = 20, overflow = "block", heartbeat = 0 },
  gone = { linger = 0 },
}
local function topic(request)
  local name = request.path_params.name
  return tg.topic(name, options[name])
end
local function publish(request)
  local event = request.query.text and request.body:all()
    or { event = request.query.event, key = request.query.key, data = request.body:all() }
  local size = math.tointeger(request.query.size)
  if size then event.data = event.data .. ("x"):rep(size) end
  local last, why
  for _ = 1, math.tointeger(request.query.count) or 1 do
    last, why = topic(request):publish(event, request.query.wait and { wait = tonumber(request.query.wait) })
  end
  return { body = last or "(" .. tostring(why) .. ")" }
end
return {
  limits = { connections = 3000, write_timeout = 60 },
  routes = {
    { "/t/:name", get = function(request) return { body = topic(request) } end, post = publish },
    { "/watched/:name", get = function(request, ctx)
      ctx:on_close(function(reason) closed[#closed + 1] = reason end)
      return { body = topic(request) }
    end },
    { "/typed/:name", get = function(request)
      return { body = topic(request), headers = { ["Content-Type"] = request.query.type, ["Cache-Control"] = "no-store" } }
    end },
    { "/part/:name", get = function(request, ctx)
      ctx:write_response({ status = 200, headers = { ["Content-Type"] = "text/plain" }, body = "before\n" })
      ctx:write_response_body(topic(request))
      ctx:write_response_body("after\n")
    end },
    { "/events/:name", get = function(request)
      return { body = tg.generate(function(yield)
        for event in topic(request):events(request.query.from) do
          yield(event)
          if event.data == "last" then break end
        end
        yield("end")
      end), headers = { ["Content-Type"] = "application/x-ndjson" } }
    end },
    { "/events-closed", get = function()
      local heard = {}
      local function wait(news, reader)
        local event = news(reader)
        heard[#heard + 1] = event or "over"
      end
      local news, reader = tg.topic("ec"):events()
      local waits = tg.spawn(wait, news, reader)
      do
        local _ <close> = reader
        tg.sleep(0)
        heard[1] = waits:status() == "waiting" and "waited"
      end
      waits:join()
      wait(news, reader)
      return { body = table.concat(heard, ",") }
    end },
    { "/close/:name", post = function(request)
      local t = topic(request)
      t:close()
      local _, why = t:publish("x")
      return { body = why }
    end },
    { "/subscribers/:name", get = function(request) return { body = tostring(topic(request):subscribers()) } end },
    { "/closed", get = function() return { body = table.concat(closed, " ") } end },
    { "/collect", get = function() collectgarbage() collectgarbage() return { body = "" } end },
    { "/raises", get = function(request)
      local ok, why = pcall(load("local tg = ... " .. request.query.code), tg)
      return { body = tostring(ok) .. " " .. tostring(why) }
    end },
    { "/now", get = function() return { body = "now" } end },
    { "/publish/:name", post = tg.publish_handler(function(request)
      local name = request.path_params.name
      return name ~= "nowhere" and (name == "object" and tg.topic("p") or name) or nil
    end, { authorise = function(request)
      if request.query.secret == "teapot" then return false, { status = 418 } end
      return request.query.secret ~= "wrong"
    end, max_bytes = 1000 }) },
    { "/publish-large", post = tg.publish_handler("large", { max_bytes = 1 << 20 }) },
    { "/poll/:name", get = tg.poll(function(request)
      return request.path_params.name ~= "nowhere" and request.path_params.name or nil
    end, { timeout = 0.3 }) },
    { "/poll-long", get = tg.poll(tg.topic("long"), { timeout = 30 }) },
    { "/stats", get = function() return { body = tg.stats().topics } end },
    { "/table/:name", post = function(request)
      return { body = topic(request):publish({ data = { list = { 1, "two", tg.json.null }, at = 1.5 } }) }
    end },
  },
}
]]

local function request(s, method, path, body, fields)
  local text = ("%s %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%s\r\n%s"):format(method, path, #(body or ""),
    fields or "", body or "")
  return assert(raw.request(s.port, text, 20))
end

local function publish(s, name, body, query)
  local response = request(s, "POST", "/t/" .. name .. (query and "?" .. query or ""), body)
  assert.equal(200, response.status)
  return response.body
end

--- A stream of the topic whose head has come: { head =, client = } with next(), which gives the text of
--- the next block, up to the empty line behind it.
local Stream = {}
Stream.__index = Stream

local function open(s, path, fields, options)
  local client = assert(raw.connect(s.port, options))
  client:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n" .. (fields or "") .. "\r\n")
  local head = assert(client:read_head(10))
  return setmetatable({ client = client, head = head, text = "" }, Stream)
end

local function subscribe(s, name, fields, options) return open(s, "/t/" .. name, fields, options) end

function Stream:more(timeout)
  local chunk, why = self.client:read_chunk(self.head, timeout or 10)
  if chunk then self.text = self.text .. chunk end
  return chunk, why
end

function Stream:next(timeout)
  while true do
    local block, rest = self.text:match("^(.-\n\n)(.*)$")
    if block then
      self.text = rest
      return block
    end
    local more, why = self:more(timeout)
    if not more then return nil, why end
  end
end

--- The next event as a table: event, id, data; comments and blocks without data are passed over.
function Stream:event(timeout)
  while true do
    local block, why = self:next(timeout)
    if not block then return nil, why end
    if block:find("data: ", 1, true) then
      local event = { data = {} }
      for name, value in block:gmatch("(%a+): ([^\n]*)\n") do
        if name == "data" then table.insert(event.data, value) else event[name] = value end
      end
      event.data = table.concat(event.data, "\n")
      return event
    end
  end
end

function Stream:close() self.client:close() end
function Stream:__close() self.client:close() end

local function subscribers(s, name) return tonumber(request(s, "GET", "/subscribers/" .. name).body) end

local function await_subscribers(s, name, count)
  server.eventually(function() return subscribers(s, name) == count end)
end

describe("a topic", function()
  local s

  setup(function() s = server.start({ script = SCRIPT, args = { "--quiet" } }) end)
  teardown(function() s:stop() end)

  describe("as a body", function()
    it("is a stream of events, with the head that such a stream has (B42)", function()
      local stream <close> = subscribe(s, "a")
      assert.equal(200, stream.head.status)
      assert.same({ "text/event-stream; charset=utf-8" }, stream.head.headers["content-type"])
      assert.same({ "no-cache" }, stream.head.headers["cache-control"])
      assert.same({ "no" }, stream.head.headers["x-accel-buffering"])
      assert.equal("chunked", stream.head.framing)
    end)

    it("sends each event with its name, its id, and a field for each line of its data (B43)", function()
      local stream <close> = subscribe(s, "b")
      local id = publish(s, "b", "one\r\ntwo\rthree\n", "event=news")
      assert.matches("^%x+%-%d+$", id)
      assert.matches("^id: %x+%-%d+\n\n$", stream:next())
      assert.equal("event: news\nid: " .. id .. "\ndata: one\ndata: two\ndata: three\ndata: \n\n", stream:next())
      id = publish(s, "b", "", "text=1")
      assert.equal("id: " .. id .. "\ndata: \n\n", stream:next())
    end)

    it("is lines of JSON for a client that would rather have those (B27)", function()
      local stream <close> = subscribe(s, "c", "Accept: application/x-ndjson\r\n")
      assert.same({ "application/x-ndjson" }, stream.head.headers["content-type"])
      local id = publish(s, "c", 'a "b"\n\1é', "event=e")
      stream:more()
      assert.equal(('{"id":"%s","event":"e","data":"a \\"b\\"\\n\\u0001é"}\n'):format(id), stream.text)
    end)

    it("sends what is no text as JSON (B43)", function()
      local stream <close> = subscribe(s, "json")
      request(s, "POST", "/table/json")
      assert.equal('{"at":1.5,"list":[1,"two",null]}', stream:event().data)
    end)

    it("keeps the type and the fields that the script has given it (B16)", function()
      local stream <close> = open(s, "/typed/d?type=application/jsonl")
      assert.same({ "application/jsonl" }, stream.head.headers["content-type"])
      assert.same({ "no-store" }, stream.head.headers["cache-control"])
      publish(s, "d", "x")
      stream:more()
      assert.matches('^{"id":', stream.text)
      assert.equal(500, request(s, "GET", "/typed/d?type=text/html").status)
    end)

    it("has no body for HEAD, and ends HTTP/1.0's by closing (B29, B31)", function()
      local head = assert(raw.request(s.port, "HEAD /t/a HTTP/1.1\r\nHost: a\r\n\r\n", 5, { head = true }))
      assert.equal(200, head.status)
      local client <close> = assert(raw.connect(s.port))
      client:send("GET /t/old10 HTTP/1.0\r\nHost: a\r\n\r\n")
      assert.is_truthy(client:read_until("\r\n\r\nid: %x+%-%d+\n\n"))
      publish(s, "old10", "x")
      assert.matches("data: x\n\n$", client:read_until("data: x\n\n"))
    end)

    it("gets its events to all subscribers within 100 ms, from each of them in order (B47)", timed(function()
      local streams = {}
      for i = 1, 20 do streams[i] = subscribe(s, "many") end
      local from = harness.now()
      for i = 1, 10 do publish(s, "many", "event " .. i) end
      for _, stream in ipairs(streams) do
        for i = 1, 10 do assert.equal("event " .. i, stream:event().data) end
        assert.is_true(stream.head.chunks[#stream.head.chunks].at - from < 1000)
      end
      assert.equal(20, subscribers(s, "many"))
      for _, stream in ipairs(streams) do stream:close() end
      await_subscribers(s, "many", 0)
    end))

    it("may be one part of a response, and its caller goes on when it is closed (B37)", function()
      local stream <close> = open(s, "/part/part")
      await_subscribers(s, "part", 1)
      publish(s, "part", "x")
      request(s, "POST", "/close/part")
      while stream:more() do end
      assert.matches("^before\nid: %S+\n\nid: %S+\ndata: x\n\nafter\n$", stream.text)
      assert.is_true(stream.head.complete)
    end)

    it("is a comment now and then while nothing else is sent, and none while something is (B44)", function()
      local stream <close> = subscribe(s, "beat")
      stream:next()
      assert.equal(":\n\n", stream:next())
      assert.equal(":\n\n", stream:next())
      local lines <close> = subscribe(s, "beat", "Accept: application/x-ndjson\r\n")
      for i = 1, 8 do
        harness.sleep(0.08)
        publish(s, "beat", tostring(i))
      end
      assert.equal("1", stream:event().data)
      for i = 2, 8 do assert.matches("^id: .*data: " .. i .. "\n\n$", stream:next()) end
      assert.equal(":\n\n", stream:next())
      server.eventually(function()
        lines:more()
        return lines.text:find('"8"}\n\n', 1, true)
      end)
    end)
  end)

  describe("to a client that comes back", function()
    local function after(id) return "Last-Event-ID: " .. id .. "\r\n" end

    it("sends what follows the id that it names, and then what is new (B45)", function()
      local ids = {}
      for i = 1, 5 do ids[i] = publish(s, "r", "event " .. i) end
      local stream <close> = subscribe(s, "r", after(ids[2]))
      publish(s, "r", "event 6")
      for i = 3, 6 do assert.equal("event " .. i, stream:event().data) end
      local other <close> = open(s, "/t/r?after=" .. ids[5])
      assert.equal("event 6", other:event().data)
    end)

    it("leaves out nothing and repeats nothing while publishing goes on (B45)", function()
      local position = publish(s, "stress", "event 0")
      local publisher <close> = assert(raw.connect(s.port))
      local sent = 0
      local function send(count)
        for _ = 1, count do
          sent = sent + 1
          local body = "event " .. sent
          publisher:send(("POST /t/stress HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body))
        end
      end
      local seen = 0
      for _ = 1, 20 do
        send(5)
        local stream <close> = subscribe(s, "stress", after(position))
        send(5)
        for _ = 1, 7 do
          local event = assert(stream:event())
          seen = seen + 1
          assert.equal("event " .. seen, event.data)
          position = event.id
        end
      end
    end)

    it("gives one that comes for the first time the id to come back with (B45)", function()
      publish(s, "first", "before")
      local stream <close> = subscribe(s, "first")
      local id = stream:next():match("^id: (%S+)\n\n$")
      stream:close()
      publish(s, "first", "meanwhile")
      local again <close> = subscribe(s, "first", after(id))
      assert.equal("meanwhile", again:event().data)
    end)

    it("says when the history does not go back so far, and how much is missing", function()
      local ids = {}
      for i = 1, 12 do ids[i] = publish(s, "short", "event " .. i) end
      local stream <close> = subscribe(s, "short", after(ids[3]))
      local gap = stream:event()
      assert.equal("tidegate-gap", gap.event)
      assert.equal('{"missed":4}', gap.data)
      assert.equal(ids[7], gap.id)
      for i = 8, 12 do assert.equal("event " .. i, stream:event().data) end
      local exact <close> = subscribe(s, "short", after(ids[7]))
      assert.equal("event 8", exact:event().data)
    end)

    it("says so for an id of another start, of the future, and for what is no id", function()
      local id = publish(s, "odd", "here")
      local epoch, number = id:match("^(%x+)%-(%d+)$")
      local odd = {
        ("0"):rep(#epoch) .. "-" .. number, epoch .. "-" .. math.tointeger(number) + 1, epoch, epoch .. "-",
        epoch .. "-x", epoch .. "-" .. ("9"):rep(30), epoch .. "-18446744073709551616", "x", "-1", "0", ("y"):rep(5000),
        "\xff\xfe", id .. " ", " " .. id .. "-1",
      }
      for _, name in ipairs(odd) do
        local stream <close> = subscribe(s, "odd", after(name))
        if name:match("^%s*(.-)%s*$") ~= id then
          local gap = stream:event()
          assert.equal("tidegate-gap", gap.event, name)
          assert.equal('{"missed":null}', gap.data)
        end
        if name ~= id .. " " then assert.equal("here", stream:event().data, name) end
      end
      local lines <close> = subscribe(s, "odd", after("x") .. "Accept: application/x-ndjson\r\n")
      while not lines.text:find("here") do assert(lines:more()) end
      assert.matches('^{"id":"%S+","event":"tidegate%-gap","data":{"missed":null}}\n{"id":"', lines.text)
    end)

    it("replays nothing where there is no history, and nothing that is too old", function()
      local id = publish(s, "none", "one")
      publish(s, "none", "two")
      local none <close> = subscribe(s, "none", after(id))
      assert.equal('{"missed":1}', none:event().data)
      id = publish(s, "old", "one")
      publish(s, "old", "two")
      server.eventually(function()
        local old <close> = subscribe(s, "old", after(id))
        return old:event().event == "tidegate-gap"
      end)
    end)

    it("has no id twice for one name, though the topic has gone meanwhile", function()
      local first = publish(s, "gone", "one")
      request(s, "GET", "/collect")
      local second = publish(s, "gone", "two")
      assert.is_true(tonumber(second:match("%d+$")) > tonumber(first:match("%d+$")))
      local stream <close> = subscribe(s, "gone", after(first))
      assert.equal("tidegate-gap", stream:event().event)
      assert.equal("two", stream:event().data)
    end)
  end)

  describe("that ends", function()
    it("ends its streams well, with everything that was published before", function()
      local stream <close> = subscribe(s, "ends")
      local lines <close> = subscribe(s, "ends", "Accept: application/x-ndjson\r\n")
      publish(s, "ends", "x", "count=50")
      assert.equal("closed", request(s, "POST", "/close/ends").body)
      for _ = 1, 50 do assert.equal("x", stream:event().data) end
      assert.is_nil(stream:event())
      assert.is_true(stream.head.complete)
      while lines:more() do end
      assert.is_true(lines.head.complete)
      assert.equal(0, subscribers(s, "ends"))
      publish(s, "ends", "another topic")
    end)

    it("is over for a client that leaves, within 100 ms and with one call of on_close (B13, B35)", timed(function()
      local stream = open(s, "/watched/w")
      await_subscribers(s, "w", 1)
      local from = harness.now()
      stream:close()
      server.eventually(function() return request(s, "GET", "/closed").body ~= "" end)
      assert.is_true(harness.now() - from < 1000)
      assert.equal("client_closed", request(s, "GET", "/closed").body)
      assert.equal(0, subscribers(s, "w"))
      local other <close> = open(s, "/watched/w")
      publish(s, "w", "x")
      assert.equal("x", other:event().data)
      request(s, "POST", "/close/w")
      assert.is_nil(other:event())
      assert.equal("client_closed done", request(s, "GET", "/closed").body)
    end))

    it("goes on with its connection afterwards (B52)", function()
      local stream <close> = subscribe(s, "kept")
      request(s, "POST", "/close/kept")
      assert.is_nil(stream:event())
      stream.client:send("GET /now HTTP/1.1\r\nHost: a\r\n\r\n")
      assert.equal("now", stream.client:read_response().body)
    end)

    it("tells its subscribers when the server stops (B61)", function()
      local own <close> = server.start({ script = SCRIPT })
      local stream <close> = subscribe(own, "a")
      publish(own, "a", "x")
      own:kill("TERM")
      assert.equal("x", stream:event().data)
      assert.is_nil(stream:event())
      assert.is_true(stream.head.complete)
    end)
  end)

  describe("read by a script", function()
    it("gives its events one by one, and lets go of it when the loop is left", function()
      local client <close> = assert(raw.connect(s.port))
      client:send("GET /events/e HTTP/1.1\r\nHost: a\r\n\r\n")
      await_subscribers(s, "e", 1)
      local id = publish(s, "e", "one", "event=n&key=k")
      local last = publish(s, "e", "last", "text=1")
      assert.equal(('{"data":"one","event":"n","id":"%s","key":"k"}\n{"data":"last","id":"%s"}\n"end"\n'):format(id, last),
        client:read_response().body)
      assert.equal(0, subscribers(s, "e"))
      local again <close> = open(s, "/events/e?from=" .. id)
      assert(again:more())
      assert.matches('^{"data":"last","id":', again.text)
    end)

    it("says where events are missing", function()
      publish(s, "e2", "last")
      local client <close> = open(s, "/events/e2?from=x")
      while not client.text:find('"end"', 1, true) do assert(client:more()) end
      assert.matches('^{"data":"{\\"missed\\":null}","event":"tidegate%-gap","json":true}\n{"data":"last"', client.text)
    end)

    it("is let go of when the client leaves while the loop waits (B15)", function()
      local client = assert(raw.connect(s.port))
      client:send("GET /events/e3 HTTP/1.1\r\nHost: a\r\n\r\n")
      await_subscribers(s, "e3", 1)
      client:close()
      await_subscribers(s, "e3", 0)
    end)

    it("ends the wait of another task where the loop is left", function()
      assert.equal("waited,over,over", request(s, "GET", "/events-closed").body)
    end)

    it("ends the loop when it is closed", function()
      local client <close> = assert(raw.connect(s.port))
      client:send("GET /events/e4 HTTP/1.1\r\nHost: a\r\n\r\n")
      await_subscribers(s, "e4", 1)
      request(s, "POST", "/close/e4")
      assert.equal('"end"\n', client:read_response().body)
    end)
  end)

  describe("published to by tg.publish_handler", function()
    local function post(name, body, kind, query)
      return request(s, "POST", "/publish/" .. name .. (query or ""), body, kind and "Content-Type: " .. kind .. "\r\n")
    end

    it("takes text and JSON, and answers with the event's id", function()
      local stream <close> = subscribe(s, "p")
      local lines <close> = subscribe(s, "p", "Accept: application/x-ndjson\r\n")
      stream:next()
      local ids = {}
      for i, one in ipairs({
        { "p", "plain", "text/plain" }, { "p", "plain é", 'Text/Plain; charset="UTF-8"' }, { "p", "none" },
        { "p", ' { "a" :\n[1, 2] } ', "application/json" }, { "object", "5", "application/vnd.x+json; charset=utf-8" },
      }) do
        local response = post(one[1], one[2], one[3], "?event=e" .. i)
        assert.equal(200, response.status)
        assert.same({ "application/json" }, response.headers["content-type"])
        ids[i] = response.body:match('^{"id":"(%x+%-%d+)"}$')
        assert.equal(("event: e%d\nid: %s\ndata: %s\n\n"):format(i, ids[i], (one[2]:gsub("\n", "\ndata: "))), stream:next())
      end
      while not lines.text:find('"e5".*\n') do assert(lines:more()) end
      assert.matches('"data":"plain é"}\n', lines.text, 1, true)
      assert.matches('"data": { "a" : [1, 2] } }\n', lines.text, 1, true)
      assert.matches('"data":5}\n', lines.text, 1, true)
    end)

    it("asks whether the client may", function()
      assert.equal(403, post("p", "x", nil, "?secret=wrong").status)
      assert.equal(418, post("p", "x", nil, "?secret=teapot").status)
      assert.equal(404, post("nowhere", "x").status)
    end)

    it("answers 415 to what is neither, with what it takes", function()
      for _, kind in ipairs({ "application/x-www-form-urlencoded", "text/html", "application/octet-stream", "json", "", "text/plain; charset=latin1" }) do
        local response = post("p", "x", kind)
        assert.equal(415, response.status, kind)
        assert.same({ "application/json, text/plain" }, response.headers.accept)
      end
    end)

    it("answers 413 to what is too large, and goes on", function()
      assert.equal(200, post("p", ("x"):rep(1000)).status)
      assert.equal(413, post("p", ("x"):rep(1001)).status)
      local chunked = assert(raw.request(s.port, "POST /publish/p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" ..
        "3e8\r\n" .. ("x"):rep(1000) .. "\r\n1\r\nx\r\n0\r\n\r\n"))
      assert.equal(413, chunked.status)
      assert.equal(200, request(s, "POST", "/publish-large", ("x"):rep(1 << 20)).status)
      assert.equal(413, request(s, "POST", "/publish-large", ("x"):rep((1 << 20) + 1)).status)
    end)

    it("answers 400 to what is not JSON, not UTF-8, or no name", function()
      for _, body in ipairs({
        "", " ", "{", "{}}", "[1,]", "{\"a\":}", "{a:1}", "{'a':1}", "01", "1.", ".5", "+1", "-", "1e", "0x1", "nul", "True",
        "NaN", '"', '"\\x"', '"\\u12g4"', '"a\nb"', "1 2", "[1 2]", "{\"a\" 1}", "\xef\xbb\xbf1", "1\0", '"\xff"', '"\xed\xa0\x80"',
        ("["):rep(129) .. ("]"):rep(129),
      }) do
        assert.equal(400, post("p", body, "application/json").status, body)
      end
      for _, body in ipairs({
        "0", "-0", "1.5e-3", "1E+2", "null", "true", "false", '""', '"\\u00e9\\n\\/"', "[]", " [ ] ", '{"a":{"b":[{},[]]}}',
        '"\xf0\x9f\x98\x80"', ("["):rep(128) .. ("]"):rep(128),
      }) do
        assert.equal(200, post("p", body, "application/json").status, body)
      end
      assert.equal(400, post("p", "\xff", "text/plain").status)
      assert.equal(400, post("p", "\xc0\x80", "text/plain").status)
      for _, query in ipairs({ "?event=a%0ab", "?event=a%0d", "?event=tidegate-gap", "?event=" .. ("x"):rep(256), "?key=a%0a" }) do
        assert.equal(400, post("p", "x", nil, query).status, query)
      end
    end)
  end)

  describe("asked by tg.poll", function()
    local function poll(name, after, fields)
      return request(s, "GET", "/poll/" .. name .. (after and "?after=" .. after or ""), nil, fields)
    end

    it("answers at once with what follows the id, and with the id to go on after", function()
      local ids = {}
      for i = 1, 3 do ids[i] = publish(s, "q", "event " .. i, "event=e") end
      local response = poll("q", ids[1])
      assert.equal(200, response.status)
      assert.same({ "application/json" }, response.headers["content-type"])
      assert.same({ "no-store" }, response.headers["cache-control"])
      assert.same({ ids[3] }, response.headers["last-event-id"])
      assert.equal(('[{"id":"%s","event":"e","data":"event 2"},{"id":"%s","event":"e","data":"event 3"}]'):format(ids[2], ids[3]),
        response.body)
      assert.equal(response.body, poll("q", nil, "Last-Event-ID: " .. ids[1] .. "\r\n").body)
      local lines = poll("q", ids[2], "Accept: application/x-ndjson\r\n")
      assert.same({ "application/x-ndjson" }, lines.headers["content-type"])
      assert.equal(('{"id":"%s","event":"e","data":"event 3"}\n'):format(ids[3]), lines.body)
    end)

    it("waits for the next event when there is none, and answers 204 when none comes", function()
      local id = publish(s, "q2", "old")
      local from = harness.now()
      local response = poll("q2", id)
      assert.equal(204, response.status)
      assert.same({ id }, response.headers["last-event-id"])
      assert.is_true(harness.now() - from >= 290)
      assert.same({ id }, poll("q2").headers["last-event-id"])
      local client <close> = assert(raw.connect(s.port))
      client:send("GET /poll-long HTTP/1.1\r\nHost: a\r\n\r\n")
      await_subscribers(s, "long", 1)
      local long = publish(s, "long", "now")
      assert.equal(('[{"id":"%s","data":"now"}]'):format(long), client:read_response().body)
      assert.equal(0, subscribers(s, "long"))
    end)

    it("says where events are missing, and answers 404 and 410 where there is no topic", function()
      publish(s, "q3", "x")
      assert.matches('^%[{"event":"tidegate%-gap","data":{"missed":null}},{"id":', poll("q3", "garbage").body)
      assert.equal(404, poll("nowhere").status)
      local client <close> = assert(raw.connect(s.port))
      client:send("GET /poll-long HTTP/1.1\r\nHost: a\r\n\r\n")
      await_subscribers(s, "long", 1)
      request(s, "POST", "/close/long")
      assert.equal(410, client:read_response().status)
    end)

    it("gives each client everything, over many polls, while publishing goes on (B45)", function()
      local after = publish(s, "q4", "event 0")
      local seen = 0
      for i = 1, 40 do
        publish(s, "q4", "event " .. i)
        if i % 3 == 0 then
          local response = poll("q4", after)
          for id, number in response.body:gmatch('{"id":"(%S-)","data":"event (%d+)"}') do
            seen = seen + 1
            assert.equal(seen, tonumber(number))
            after = id
          end
          assert.same({ after }, response.headers["last-event-id"])
        end
      end
      assert.equal(39, seen)
    end)
  end)

  describe("misused", function()
    local function raises(code)
      local encoded = code:gsub("[^%w]", function(c) return ("%%%02x"):format(c:byte()) end)
      return request(s, "GET", "/raises?code=" .. encoded).body
    end

    it("refuses names and options that it does not know", function()
      assert.matches("^false .*string expected", raises("tg.topic()"))
      assert.matches("^false .*a topic's name is not empty", raises("tg.topic('')"))
      assert.matches("^false .*control characters", raises("tg.topic('a\\nb')"))
      assert.matches("^false .*at most 255 bytes", raises("tg.topic(('x'):rep(256))"))
      assert.matches("^true", raises("tg.topic(('x'):rep(255))"))
      assert.matches("^false .*unknown option histroy", raises("tg.topic('m', { histroy = 1 })"))
      assert.matches("^false .*names of options are strings", raises("tg.topic('m', { 1 })"))
      assert.matches("^false .*history is a number from 0 to 100000", raises("tg.topic('m', { history = -1 })"))
      assert.matches("^false .*history is a number", raises("tg.topic('m', { history = '5' })"))
      assert.matches("^false .*max_age is a number", raises("tg.topic('m', { max_age = 0/0 })"))
      assert.matches("^false .*overflow is \"drop_oldest\", \"latest\"", raises("tg.topic('m', { overflow = 'x' })"))
    end)

    it("refuses events that would not be what they seem (B44)", function()
      assert.matches("^false .*no line break", raises("tg.topic('m'):publish{ event = 'a\\ndata: x' }"))
      assert.matches("^false .*no line break", raises("tg.topic('m'):publish{ event = 'a\\rb' }"))
      assert.matches("^false .*no NUL", raises("tg.topic('m'):publish{ event = 'a\\0b' }"))
      assert.matches("^false .*does not begin with tidegate%-", raises("tg.topic('m'):publish{ event = 'tidegate-gap' }"))
      assert.matches("^false .*gives its events their ids itself", raises("tg.topic('m'):publish{ id = '1' }"))
      assert.matches("^false .*an event has event, data and key, this has dat$", raises("tg.topic('m'):publish{ dat = '1' }"))
      assert.matches("^false .*at most 1048576 bytes", raises("tg.topic('m'):publish(('x'):rep(1048577))"))
      assert.matches("^true", raises("tg.topic('m'):publish(('x'):rep(1048576))"))
      assert.matches("^false .*at most", raises("tg.topic('m'):publish{ event = ('x'):rep(256) }"))
      assert.matches("^false .*data is not JSON", raises("tg.topic('m'):publish{ data = '{', json = true }"))
      assert.matches("^true", raises("tg.topic('m'):publish{ data = '{}', json = true }"))
      assert.matches("^false .*%$%.a", raises("tg.topic('m'):publish{ data = { a = print } }"))
      assert.matches("^false .*data is a string or JSON", raises("tg.topic('m'):publish{ data = print }"))
      assert.matches("^false .*table expected", raises("tg.topic('m'):publish(1)"))
      assert.matches("^false .*only a topic of overflow", raises("tg.topic('m'):publish('x', { wait = true })"))
      assert.matches("^false .*tidegate.Topic expected", raises("tg.topic('m').publish({}, 'x')"))
    end)

    it("refuses what is no topic, and options of its handlers that it does not know", function()
      assert.matches("^false .*expected a topic, its name, or a function", raises("tg.poll({})"))
      assert.matches("^false .*expected a topic, its name, or a function", raises("tg.publish_handler()"))
      assert.matches("^false .*tg.poll: unknown option time", raises("tg.poll('m', { time = 1 })"))
      assert.matches("^false .*authorise is a function, this is a table", raises("tg.publish_handler('m', { authorise = {} })"))
      for _, seconds in ipairs({ "-1", "0/0" }) do
        assert.matches("^false .*tg.poll: timeout: expected seconds of zero or more",
          raises("tg.poll('m', { timeout = " .. seconds .. " })"))
      end
    end)

    it("is one and the same value by its name, and says what it is", function()
      assert.equal("true true", raises("return tg.topic('m') == tg.topic('m')"))
      assert.equal("true tidegate.Topic: m", raises("return tostring(tg.topic('m'))"))
      assert.equal("true m", raises("return tg.topic('m').name"))
    end)
  end)

  describe("with a subscriber that does not read", function()
    local SIZE = 20000

    --- Publishes until the subscriber is stuck and then `count` more; returns how many in all.
    local function stuff(name, count, query)
      local most = 8000000 // SIZE -- more than the socket takes
      for _ = 1, most // 50 do publish(s, name, "", ("count=50&size=%d%s"):format(SIZE, query or "")) end
      for i = 1, count do publish(s, name, tostring(i), "event=tail" .. (query or "")) end
      return most // 50 * 50 + count
    end

    it("has the others get everything at once, and tells it later how much it has missed (B47)", function()
      local fast <close> = subscribe(s, "dropping")
      local slow <close> = subscribe(s, "dropping", nil, { rcvbuf = 4096 })
      local before = s:rss()
      local total, got = 0, 0
      for _ = 1, 20 do
        publish(s, "dropping", "", "count=20&size=" .. SIZE)
        total = total + 20
        for _ = 1, 20 do
          local event = assert(fast:event(2))
          assert.is_nil(event.event)
          got = got + 1
        end
      end
      assert.equal(total, got)
      if not server.sanitized then assert.is_true(s:rss() - before < 2048, s:rss() - before) end
      local dropped
      local received = 0
      local stats = cjson.decode(request(s, "GET", "/stats").body)
      local figures = stats.by_name.dropping
      assert.equal(2, figures.subscribers)
      assert.equal(total, figures.published)
      assert.equal(1, #figures.slow)
      assert.equal("127.0.0.1:" .. slow.client.socket:port(), figures.slow[1].who)
      assert.is_true(figures.slow[1].behind > 20 and figures.slow[1].dropped > 20)
      assert.is_true(stats.delivered > total and stats.slow >= 1 and stats.count > 10)
      publish(s, "dropping", "the end")
      repeat
        local block = assert(slow:next(20))
        dropped = dropped or tonumber(block:match("^: (%d+) events were dropped\n"))
        if block:find("data: ", 1, true) then received = received + 1 end
      until block:find("the end", 1, true)
      assert.is_true(dropped > 20, "nothing was dropped")
      assert.equal(total + 1, dropped + received)
    end)

    it("sends it the latest event of each key (overflow = latest)", function()
      local slow <close> = subscribe(s, "latest", nil, { rcvbuf = 4096 })
      for _, key in ipairs({ "rare", "seldom" }) do publish(s, "latest", key .. " 1", "key=" .. key) end
      stuff("latest", 0, "&key=often")
      for _, key in ipairs({ "rare", "seldom", "once" }) do publish(s, "latest", key .. " 2", "key=" .. key) end
      for _ = 1, 4 do publish(s, "latest", "", "count=50&key=often&size=" .. SIZE) end
      publish(s, "latest", "the end", "key=end")
      local seen, order = {}, {}
      repeat
        local event = assert(slow:event(20))
        seen[event.data:sub(1, 20)] = (seen[event.data:sub(1, 20)] or 0) + 1
        order[#order + 1] = tonumber(event.id:match("%d+$"))
      until event.data == "the end"
      for _, key in ipairs({ "rare", "seldom", "once" }) do assert.equal(1, seen[key .. " 2"]) end
      for i = 2, #order do assert.is_true(order[i] > order[i - 1]) end
      assert.is_true(#order < 450)
    end)

    it("ends its stream with the id to come back with (overflow = close)", function()
      local slow <close> = subscribe(s, "closing", nil, { rcvbuf = 4096 })
      local fast <close> = subscribe(s, "closing")
      for _ = 1, 20 do
        publish(s, "closing", "", "count=20&size=" .. SIZE)
        for _ = 1, 20 do assert(fast:event(2)) end
      end
      await_subscribers(s, "closing", 1)
      local last, hint
      repeat
        local block, why = slow:next(20)
        if block then
          last = block:match("\nid: (%S+)\ndata: ") or block:match("^id: (%S+)\ndata: ") or last
          hint = block:match("^id: (%S+)\nretry: %d+\n\n$")
        end
      until not block or why
      assert.equal(last, hint)
      assert.is_true(slow.head.complete)
    end)

    it("slows only a publisher that asks to wait (overflow = block)", timed(function()
      local slow <close> = subscribe(s, "blocking", nil, { rcvbuf = 4096 })
      await_subscribers(s, "blocking", 1)
      local total = 0
      local timed_out
      for _ = 1, 60 do
        local id = publish(s, "blocking", "", "wait=0.2&count=10&size=" .. SIZE)
        timed_out = id == "(timeout)"
        if timed_out then break end
        total = total + 10
      end
      assert.is_true(timed_out, "never full")
      local client <close> = assert(raw.connect(s.port))
      client:send("POST /t/blocking?wait=20&size=20000 HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nwaited")
      assert.equal("now", request(s, "GET", "/now").body)
      assert.is_true(client:is_silent(0.2))
      local dropped
      repeat
        local block = assert(slow:next(20))
        dropped = dropped or block:find("dropped", 1, true)
      until block:find("waited", 1, true)
      assert.is_nil(dropped)
      assert.equal(200, client:read_response(10).status)
      local from = harness.now()
      for _ = 1, 10 do publish(s, "blocking", "", "count=50&size=" .. SIZE) end
      assert.is_true(harness.now() - from < 5000)
    end))
  end)
end)

describe("an idle subscriber", function()
  it("costs 4 KiB at most, whatever its request was", function()
    if server.sanitized then return end
    local s <close> = server.start({ script = SCRIPT, args = { "--quiet" } })
    local fields = "X-Filler: " .. ("x"):rep(1000) .. "\r\n"
    local function crowd(count)
      local streams = {}
      for i = 1, count do streams[i] = subscribe(s, "idle", fields) end
      return streams
    end
    local first = crowd(200) -- what is needed but once
    local before = s:rss()
    local streams = crowd(1500)
    assert.is_true((s:rss() - before) / 1500 <= 4, (s:rss() - before) / 1500)
    for _, stream in ipairs(streams) do stream:close() end
    for _, stream in ipairs(first) do stream:close() end
    server.eventually(function() return subscribers(s, "idle") == 0 end)
  end)
end)

describe("topics of two workers", function()
  it("are the same: what one publishes the subscribers of both get (B47)", function()
    local s <close> = server.start({ script = SCRIPT, workers = 2, args = { "--quiet" } })
    local streams = {}
    for i = 1, 16 do streams[i] = subscribe(s, "a") end
    server.eventually(function() return subscribers(s, "a") == 16 end)
    for i = 1, 40 do publish(s, "a", "event " .. i) end
    for _, stream in ipairs(streams) do
      for i = 1, 40 do assert.equal("event " .. i, stream:event().data) end
      stream:close()
    end
    server.eventually(function() return subscribers(s, "a") == 0 end)
  end)

  it("outlive a reload, with their subscribers, their history and their ids (B57)", function()
    local s <close> = server.start({ script = SCRIPT, workers = 2 })
    local stream <close> = subscribe(s, "a")
    local id = publish(s, "a", "one")
    assert.equal("one", stream:event().data)
    s:kill("HUP")
    s:wait_log("generation 2 in")
    local second = publish(s, "a", "two")
    assert.equal("two", stream:event().data)
    assert.equal(id:match("^%x+"), second:match("^%x+"))
    local again <close> = subscribe(s, "a", "Last-Event-ID: " .. id .. "\r\n")
    assert.equal("two", again:event().data)
  end)

  it("do not keep a script that was replaced for their streams' sake (B57)", function()
    if server.sanitized then return end
    local s <close> = server.start({ script = 'local big = ("x"):rep(64 << 20) .. "y"\n' .. SCRIPT })
    local stream <close> = subscribe(s, "a")
    assert.is_true(s:rss() > 64 << 10)
    server.write(s.script, SCRIPT)
    s:kill("HUP")
    server.eventually(function() return s:rss() < 40 << 10 end)
    publish(s, "a", "still there")
    assert.equal("still there", stream:event().data)
  end)
end)

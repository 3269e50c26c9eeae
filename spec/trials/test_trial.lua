--- tg.test, as the specs of a service use it: run by `tidegate test`, see spec/http/test_spec.lua.
local tg = require("tidegate")

local response_for, stream_for = tg.test.response_for, tg.test.stream_for

--- A service of these routes.
local function routes(list, more)
  local service = more or {}
  service.routes = list
  return service
end

local function serves(handler, more)
  return routes({ { "/", get = handler, post = handler } }, more)
end

describe("tg.test.response_for", function()
  it("goes through the router, the chain and the body (B71)", function()
    local trace = {}
    local function mark(name)
      return {
        name = name,
        enter = function() tg.sleep(0.001) trace[#trace + 1] = "enter " .. name end,
        leave = function(ctx)
          trace[#trace + 1] = "leave " .. name
          ctx.response.headers = { ["Set-Cookie"] = { "a=1", "b=2" } }
        end,
      }
    end
    local service = routes({
      { "/u/:id", get = { mark("x"), function(request)
        return { body = { id = request.path_params.id, q = request.query.q } }
      end } },
    }, { interceptors = { mark("around") } })
    local response = response_for(service, "GET", "/u/a%20b?q=1")
    assert.equal(200, response.status)
    assert.equal('{"id":"a b","q":"1"}', response.body)
    assert.equal("application/json", response.headers["content-type"])
    assert.same({ "a=1", "b=2" }, response.headers["set-cookie"])
    assert.equal("20", response.headers["Content-Length"])
    assert.equal("done", response.ending)
    assert.is_nil(response.broken)
    assert.same({ "enter around", "enter x", "leave x", "leave around" }, trace)
  end)

  it("gets the router's own answers", function()
    local service = routes({ { "/a", get = function() return { body = "x" } end } })
    assert.equal(404, response_for(service, "GET", "/b").status)
    local refused = response_for(service, "DELETE", "/a")
    assert.equal(405, refused.status)
    assert.equal("GET, HEAD, OPTIONS", refused.headers.allow)
    local head = response_for(service, "HEAD", "/a")
    assert.equal("", head.body)
    assert.equal("1", head.headers["content-length"])
  end)

  it("gets what the gateway refuses without an exchange", function()
    local service = serves(function() return { body = "x" } end, { limits = { body_bytes = 10 } })
    local response = response_for(service, "GET", "no-slash")
    assert.equal(400, response.status)
    assert.equal("refused", response.ending)
    assert.equal(413, response_for(service, "POST", "/", { body = ("x"):rep(11) }).status)
    assert.equal(431, response_for(service, "GET", "/", { headers = { X = ("x"):rep(20000) } }).status)
  end)

  it("shows a request as a client has sent it", function()
    local service = serves(function(request)
      return { body = { request.scheme, request.host, request.port, request.remote_addr,
        request.headers["x-list"], request.protocol, request.target } }
    end)
    local response = response_for(service, "GET", "/?a", {
      scheme = "https", headers = { Host = "example.org", ["X-List"] = { 1, 2 } },
    })
    assert.equal('["https","example.org",443,"127.0.0.1","1, 2","HTTP/1.1","/?a"]', response.body)
  end)

  it("has the error that nobody has handled, and the answer to it", function()
    local service = serves(function(request)
      return request.query.well and { body = "x" } or error("boom")
    end)
    local response = response_for(service, "GET", "/")
    assert.equal(500, response.status)
    assert.equal("error", response.ending)
    assert.matches("boom", response.error)
    assert.matches("traceback", response.error)
    assert.matches("^error GET /: unhandled after 0 bytes, id %x+%-%x+: enter of GET /: .*boom", response.log)
    response = response_for(service, "GET", "/?well=1")
    assert.equal("done", response.ending)
    assert.is_nil(response.error)
    assert.equal("", response.log)
  end)

  it("has what was logged: a response after one was sent (B39)", function()
    local service = serves(function(_, ctx)
      ctx:write_response({ status = 201, body = "first" })
      return { status = 200, body = "second" }
    end)
    local response = response_for(service, "GET", "/")
    assert.equal(201, response.status)
    assert.equal("first", response.body)
    assert.matches("response already sent: 201 was, 200 is dropped", response.log)
  end)

  it("shows a body that breaks off as broken, with what came before (B33)", function()
    local service = serves(function()
      return { body = function(out)
        out:write("some")
        tg.sleep(0.001)
        error("boom")
      end }
    end)
    local response = response_for(service, "GET", "/")
    assert.equal(200, response.status)
    assert.equal("some", response.body)
    assert.is_true(response.broken)
    assert.equal("error", response.ending)
    assert.matches("boom", response.error)
  end)

  it("sends bodies: whole, as JSON, as a form, in chunks", function()
    local service = serves(function(request)
      return { body = (request.headers["content-type"] or "-") .. " " .. request.body:all() }
    end)
    local function post(options) return response_for(service, "POST", "/", options).body end
    assert.equal("- abc", post({ body = "abc" }))
    assert.equal('application/json {"a":[1,2]}', post({ json = { a = { 1, 2 } } }))
    assert.equal("application/x-www-form-urlencoded a=1&b=x%20y&b=%26",
      post({ form = { a = 1, b = { "x y", "&" } } }))
    assert.equal("- onetwo", post({ body = { "one", "two" } }))
    local left = 3
    assert.equal("- 321", post({ body = function()
      tg.sleep(0.001)
      left = left - 1
      return left >= 0 and tostring(left + 1) or nil
    end }))
    assert.equal("- ", post({ body = "" }))
  end)

  it("raises what is wrong with a service, and with the call", function()
    local function message(...)
      local arguments = table.pack(...)
      return select(2, pcall(function() return (response_for(table.unpack(arguments, 1, 4))) end))
    end
    assert.matches("unknown key \"rotues\"", message({ rotues = {} }, "GET", "/"))
    assert.matches("expected a service table, got nil", message(nil, "GET", "/"))
    local service = serves(function() return { body = "x" } end)
    assert.matches("unknown option header", message(service, "GET", "/", { header = {} }))
    assert.matches("test_trial.lua.*line break", message(service, "GET", "/", { headers = { A = "1\r\nB: 2" } }))
    assert.matches("line break", message(service, "GET", "/ HTTP/1.1\r\nX: y"))
    assert.matches("longer than 3 bytes",
      message(serves(function() return { body = "four" } end), "GET", "/", { most = 3 }))
  end)

  it("keeps a service's limits, and services apart", function()
    local function body(request) return { body = tostring(#request.body:all()) } end
    local small, large = serves(body, { limits = { body_buffer = 4 } }), serves(body)
    assert.equal(413, response_for(small, "POST", "/", { body = "12345" }).status)
    assert.equal("5", response_for(large, "POST", "/", { body = "12345" }).body)
  end)

  it("finds the paths of the service's named routes", function()
    local service = routes({ { "/x/:id", name = "x", get = function()
      return { body = tg.url_for("x", { id = "a b" }) }
    end } })
    assert.equal("/x/a%20b", response_for(service, "GET", "/x/1").body)
  end)

  it("leaves nothing behind", function()
    local function blocks()
      for _ = 1, 2 do -- clients that are collected leave, and then their services go
        for _ = 1, 4 do collectgarbage() end
        tg.sleep(0.01)
      end
      return tg.stats().memory.blocks
    end
    local function run(count)
      for _ = 1, count do
        local service = serves(function() return { body = { 1, 2, 3 } } end)
        response_for(service, "GET", "/")
        stream_for(service, "GET", "/") -- dropped before it has begun
      end
    end
    run(10)
    local before = blocks()
    run(100)
    assert.equal(before, blocks())
  end)

  it("answers one while a thousand wait (B11)", function()
    local clock <close> = tg.test.clock()
    local service = routes({
      { "/wait", get = function() tg.sleep(3600) return { body = "late" } end },
      { "/now", get = function() return { body = "now" } end },
    }, { limits = { response_timeout = 0 } })
    local tasks = {}
    for n = 1, 1000 do tasks[n] = tg.spawn(response_for, service, "GET", "/wait") end
    tg.sleep(0)
    assert.equal("now", response_for(service, "GET", "/now").body)
    clock:advance(3600)
    for _, task in ipairs(tasks) do assert.equal("late", task:join().body) end
  end)
end)

describe("tg.test.stream_for", function()
  it("gives each chunk as it was sent, with its time (B19)", function()
    local clock <close> = tg.test.clock()
    local service = serves(function()
      return { headers = { ["Content-Type"] = "text/plain" }, body = tg.generate(function(yield)
        for n = 1, 3 do yield(n) tg.sleep(10) end
      end) }
    end)
    local stream = stream_for(service, "GET", "/")
    assert.equal(200, (stream:head()))
    assert.same({ "1\n", 0.0 }, { stream:read() })
    clock:advance(9.999)
    assert.equal(0, stream:waiting())
    clock:advance(20.001)
    assert.same({ "2\n", 10.0 }, { stream:read() })
    assert.same({ "3\n", 20.0 }, { stream:read() })
    assert.is_nil(stream:read())
    assert.same({ "done", true, nil, "" }, { stream:over() })
  end)

  it("holds a producer back while its client reads slowly (B20)", function()
    local clock <close> = tg.test.clock()
    local written = 0
    local service = serves(function()
      return { body = function(out)
        for _ = 1, 1000 do
          out:write(("x"):rep(10000))
          written = written + 10000
        end
      end }
    end)
    local stream = stream_for(service, "GET", "/", { read = 100000 })
    stream:head()
    tg.sleep(0)
    assert.is_true(written < 700000, written)
    assert.is_true(stream:waiting() >= 256 * 1024, stream:waiting())
    local reader = tg.spawn(stream.response, stream)
    clock:advance(20)
    assert.is_true(written > 2000000 and written < 2700000, written)
    clock:advance(81)
    assert.equal(10000000, #reader:join().body)
    assert.equal("done", (stream:over()))
  end)

  it("is given up when its client takes nothing for limits.write_timeout", function()
    local clock <close> = tg.test.clock()
    local reason
    local service = serves(function(_, ctx)
      ctx:on_close(function(why) reason = why end)
      return { body = function(out) while true do out:write(("x"):rep(1000)) end end }
    end)
    local stream = stream_for(service, "GET", "/")
    stream:head()
    clock:advance(59)
    assert.is_nil(reason)
    clock:advance(2)
    assert.equal("timeout", reason)
    assert.same({ "timeout", false, nil, "" }, { stream:over() })
  end)

  it("is over when its client has it all, and not before", function()
    local reason
    local service = serves(function(_, ctx)
      ctx:on_close(function(why) reason = why end)
      return { body = ("x"):rep(100000) }
    end)
    local stream = stream_for(service, "GET", "/")
    stream:head()
    tg.sleep(0.01)
    assert.is_nil(reason)
    assert.equal(100000, #stream:read())
    assert.equal("done", (stream:over()))
    assert.equal("done", reason)
    local left = stream_for(service, "GET", "/")
    left:head()
    left:leave()
    assert.equal("client_closed", (left:over()))
  end)

  it("has a client that leaves after so many bytes (B13)", function()
    local closed, reason = false, nil
    local service = serves(function(_, ctx)
      ctx:on_close(function(why) reason = why end)
      return { body = function(out)
        local guard <close> = setmetatable({}, { __close = function() closed = true end })
        while guard do out:write("0123456789") tg.sleep(0.001) end
      end }
    end)
    local response = response_for(service, "GET", "/", { leaves_after = 25 })
    assert.equal("0123456789012345678901234", response.body)
    assert.equal("client_closed", response.ending)
    assert.is_true(response.broken)
    assert.is_true(closed)
    assert.equal("client_closed", reason)
    response = response_for(service, "GET", "/", { leaves_after = 0 })
    assert.equal(200, response.status)
    assert.equal("client_closed", response.ending)
  end)

  it("has a client that leaves during a wait, before anything was sent (B13)", function()
    local reason
    local service = serves(function(_, ctx)
      ctx:on_close(function(why) reason = why end)
      tg.sleep(100)
    end)
    local stream = stream_for(service, "GET", "/")
    tg.sleep(0.01)
    stream:leave()
    assert.same({ "client_closed", false, nil, "" }, { stream:over() })
    assert.equal("client_closed", reason)
    assert.is_nil((stream:head()))
    local early = stream_for(service, "GET", "/")
    early:leave()
    assert.equal("client_closed", (early:over()))
  end)

  it("leaves when the test drops it", function()
    local reason
    local service = serves(function(_, ctx)
      ctx:on_close(function(why) reason = why end)
      tg.sleep(100)
    end)
    do
      local stream = stream_for(service, "GET", "/")
      tg.sleep(0.01)
      assert.is_nil(reason, stream)
    end
    collectgarbage()
    collectgarbage()
    tg.sleep(0.01)
    assert.equal("client_closed", reason)
  end)

  it("feeds a body no faster than it is read (B49)", function()
    local fed, go = 0, tg.channel()
    local service = serves(function(request)
      go:get()
      local bytes = 0
      for chunk in request.body:chunks() do bytes = bytes + #chunk end
      return { body = tostring(bytes) }
    end)
    local stream = stream_for(service, "POST", "/", { body = function()
      fed = fed + 1
      return fed <= 1000 and ("x"):rep(1000) or nil
    end })
    tg.sleep(0.01)
    assert.is_true(fed >= 60 and fed <= 70, fed)
    go:put(true)
    assert.equal("1000000", stream:response().body)
  end)

  it("follows a topic from the client's last event on (B45)", function()
    local topic = tg.topic("trial", { history = 10 })
    local service = routes({ { "/", get = tg.sse(function(events) events:subscribe(topic) end) } })
    local first = topic:publish("one")
    topic:publish("two")
    local stream <close> = stream_for(service, "GET", "/", { headers = { ["Last-Event-ID"] = first } })
    local text = stream:read()
    assert.matches("data: two", text)
    assert.is_nil(text:find("data: one", 1, true))
    topic:publish("three")
    assert.matches("data: three", (stream:read()))
  end)
end)

describe("tg.test.clock", function()
  local clock
  before_each(function() clock = tg.test.clock() end)
  after_each(function() clock:stop() end)

  it("lets timeouts come in no time (B12)", function()
    local service = serves(function() tg.wait(function() end) end)
    local task = tg.spawn(response_for, service, "GET", "/")
    clock:advance(59.9)
    assert.not_equal("done", task:status())
    clock:advance(0.2)
    assert.equal(503, task:join().status)
  end)

  it("lets heartbeats come when they are due (B44)", function()
    local service = routes({ { "/", get = tg.sse(function() tg.sleep(1000) end) } })
    local stream <close> = stream_for(service, "GET", "/")
    stream:head()
    clock:advance(16)
    local beat, at = stream:read()
    assert.equal(":\n\n", beat)
    assert.is_true(at > 14 and at <= 16, at)
  end)

  it("moves tg.now and tg.monotonic", function()
    local now, monotonic = tg.now(), tg.monotonic()
    clock:advance(86400)
    assert.near(86400, tg.now() - now, 5)
    assert.near(86400, tg.monotonic() - monotonic, 0.001)
    assert.near(clock:now(), tg.monotonic(), 0.001)
  end)

  it("ends what tg.shared keeps for a while, and limits that refill (B60)", function()
    local store = tg.shared("held")
    store:set("k", "v", 60)
    clock:advance(59.9)
    assert.equal("v", store:get("k"))
    clock:advance(0.2)
    assert.is_nil(store:get("k"))
    local service = routes({
      { "/", get = { tg.limit({ key = function() return "one" end, rate = 1 / 60, burst = 1 }), function() return { body = "" } end } },
    })
    local function status() return response_for(service, "GET", "/").status end
    assert.same({ 200, 429 }, { status(), status() })
    clock:advance(61)
    assert.same({ 200, 429 }, { status(), status() })
    clock:stop()
    store:set("k", "v", 60)
    assert.equal("v", store:get("k"))
  end)

  it("wakes who sleeps in the order of their times, each before the next is due", function()
    local woken = {}
    for _, seconds in ipairs({ 3, 1, 2 }) do
      tg.spawn(function()
        tg.sleep(seconds)
        woken[#woken + 1] = seconds
        tg.sleep(0.5)
        woken[#woken + 1] = seconds + 0.5
      end)
    end
    clock:advance(2.5)
    assert.same({ 1, 1.5, 2, 2.5 }, woken)
    clock:advance(1)
    assert.same({ 1, 1.5, 2, 2.5, 3, 3.5 }, woken)
  end)

  it("runs by itself when it is told to", function()
    local service = serves(function() tg.sleep(50) return { body = "slept" } end)
    local began = os.time()
    clock:run()
    local response = response_for(service, "GET", "/")
    assert.equal("slept", response.body)
    assert.near(50, response.chunks[1].at, 1)
    assert.is_true(os.time() - began < 10)
  end)

  it("gives real time back, with what was left to wait", function()
    local task = tg.spawn(function() tg.sleep(100) return tg.monotonic() end)
    clock:advance(99.98)
    assert.not_equal("done", task:status())
    local stopped = os.time()
    clock:stop()
    task:join()
    assert.is_true(os.time() - stopped < 20)
    clock:stop()
    assert.has_error(function() clock:advance(1) end)
  end)

  it("is one: the next takes its place", function()
    local second <close> = tg.test.clock()
    assert.has_error(function() clock:advance(1) end)
    second:advance(1)
  end)
end)

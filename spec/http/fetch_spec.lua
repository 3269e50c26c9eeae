-- tg.fetch: requests to other servers, their responses as streams.
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")
local upstream = require("upstream")

local SCRIPT = [[
local tg = require("tidegate")
local kept

local function url(request) return "http://127.0.0.1:" .. request.query.port .. (request.query.path or "/") end

local function failed(why, failure)
  return { status = 500, body = { why = why, kind = failure.kind, status = failure.status, sent = failure.sent } }
end

return {
  limits = { upstream_buffer = 65536, response_timeout = 3 },
  routes = {
    { "/get", get = function(request)
      local response, why, failure = tg.fetch(url(request))
      return response or failed(why, failure)
    end },
    { "/head", head = function(request) return assert(tg.fetch(url(request), { method = "HEAD" })) end },
    { "/asserts/dead", get = function() return assert(tg.fetch("http://127.0.0.1:1/")) end },
    { "/asserts/placed", get = function()
      local response = assert(tg.fetch("http://127.0.0.1:1/"))
      return response
    end },
    { "/asserts/slow", get = function(request) return assert(tg.fetch(("http://127.0.0.1:%d/sleep"):format(request.port), { timeout = 0.01 })) end },
    { "/asserts/joined", get = function()
      return tg.spawn(function() return assert(tg.fetch("http://127.0.0.1:1/")) end):join()
    end },
    { "/asserts/other", get = function()
      local _, why = tg.fetch("http://127.0.0.1:1/")
      error("not its own: " .. why)
    end },
    { "/sleep", get = function() tg.sleep(5) end },
    { "/handles-assert", interceptors = { { name = "outer", error = function(ctx, err)
      ctx.response = { body = err.status .. " " .. err.stage .. " " .. err.message }
    end } }, get = function() return assert(tg.fetch("http://127.0.0.1:1/")) end },
    { "/raise", get = function(request)
      local response, why, failure = tg.fetch(url(request))
      return response or error(failure)
    end },
    { "/late", get = function(request) return tg.fetch(url(request), { timeout = 0 }) end },
    { "/tell", get = function(request)
      local response = assert(tg.fetch(url(request)))
      return { body = {
        status = response.status, length = response.length, one = response.headers["X-ONE"],
        two = response.headers["x-two"], body = response.body:all(), again = response.body:read() == nil,
      } }
    end },
    { "/body", get = function(request) return { status = 201, body = assert(tg.fetch(url(request))) } end },
    { "/stream", get = function(request)
      return { body = assert(tg.fetch(url(request))).body, headers = { ["Content-Type"] = "text/x-own" } }
    end },
    { "/chunks", get = function(request)
      local response = assert(tg.fetch(url(request)))
      return { body = function(out)
        for chunk in response.body:chunks() do out:write("[", chunk, "]") out:flush() end
      end }
    end },
    { "/part", get = function(request)
      local response = assert(tg.fetch(url(request)))
      response.body:read()
      return response
    end },
    { "/twice", get = function(request)
      local response = assert(tg.fetch(url(request)))
      response.body:all()
      return response
    end },
    { "/edit", get = function(request)
      local response = assert(tg.fetch(url(request)))
      response.status = 203
      response.headers["x-one"] = "mine"
      response.headers["X-TWO"] = nil
      return response
    end },
    { "/all", get = function(request)
      return { body = assert(tg.fetch(url(request))).body:all(math.tointeger(request.query.limit)) }
    end },
    { "/close", get = function(request)
      local response = assert(tg.fetch(url(request)))
      response.body:close()
      local _, why = pcall(response.body.read, response.body)
      tg.sleep(tonumber(request.query.sleep) or 0)
      return { body = why }
    end },
    { "/leave", get = function(request)
      do
        local response <close> = assert(tg.fetch(url(request)))
        kept = response
      end
      tg.sleep(tonumber(request.query.sleep) or 0)
      return { body = "left" }
    end },
    { "/drop", get = function(request)
      assert(tg.fetch(url(request)))
      collectgarbage() collectgarbage()
      tg.sleep(2)
      return { body = "dropped" }
    end },
    { "/keep", get = function(request) kept = assert(tg.fetch(url(request))) return { body = "kept" } end },
    { "/kept", get = function()
      local ok, why = pcall(kept.body.read, kept.body)
      return { body = { ok = ok, why = why } }
    end },
    { "/post", post = function(request)
      return assert(tg.fetch(url(request), { body = "12345", headers = { ["X-A"] = { "1", 2 }, Empty = "" } }))
    end },
    { "/send", any = function(request)
      return assert(tg.fetch(url(request), { method = request.method, body = request.body, timeout = 1 }))
    end },
    { "/options", get = function(request)
      local options = assert(load("return " .. request.query.o))()
      local ok, response, why, failure = pcall(tg.fetch, url(request), options)
      if not ok then return { status = 400, body = tostring(response) } end
      if not response then return failed(why, failure) end
      return response
    end },
    { "/mistake", get = function(request)
      local _, why = pcall(tg.fetch, request.query.url)
      return { body = tostring(why) }
    end },
    { "/ok", get = function() return { body = "ok" } end },
    { "/both", get = function(request, ctx)
      ctx:write_response({ status = 200 })
      local function send(part) return function() ctx:write_response_body(tg.fetch(url(request) .. part)) end end
      tg.all({ send("1"), send("2") })
    end },
    { "/two", get = function(request)
      local both = tg.all { function() return tg.fetch(url(request) .. "1") end, function() return tg.fetch(url(request) .. "2") end }
      return { body = both[1].body:all() .. both[2].body:all() }
    end },
    { "/produce/:what", any = function(request)
      local steps = tonumber(request.query.steps) or 3
      local bodies = {
        table = { a = 1, list = { 1, 2 } },
        empty = tg.json.array({}),
        generator = tg.generate(function(yield) for i = 1, steps do yield(i) tg.sleep(0.05) end end),
        fn = function(out) for i = 1, steps do out:write("<", i, ">") out:flush() tg.sleep(0.05) end end,
        short = function(out) out:write("short") end,
        large = function(out) for _ = 1, 1024 do out:write(("x"):rep(1024 * 1024)) end end,
        raise = function(out) error("before") end,
        late = function(out) out:write("begun") out:flush() tg.sleep(0.05) error("in the middle") end,
        closed = function(out)
          local c <close> = setmetatable({}, { __close = function() tg.log.info("the producer was closed") end })
          for _ = 1, 1000 do out:write("x") out:flush() tg.sleep(0.02) end
        end,
        other = request.query.other and assert(tg.fetch("http://127.0.0.1:" .. request.query.other .. "/")),
      }
      local ok, response, why, failure = pcall(tg.fetch, url(request), {
        body = bodies[request.path_params.what],
        headers = request.query.type and { ["content-TYPE"] = request.query.type } or nil,
      })
      if not ok then return { status = 599, body = tostring(response) } end
      return response or failed(why, failure)
    end },
    { "/cancel", get = function(request)
      local task = tg.spawn(function() tg.fetch(url(request)) end)
      tg.sleep(0.05)
      task:cancel()
      tg.sleep(2)
    end },
    { "/cancel-reader", get = function(request)
      local response = assert(tg.fetch(url(request)))
      local task = tg.spawn(function() while response.body:read() do end end)
      tg.sleep(0.05)
      task:cancel()
      local _, why = pcall(response.body.read, response.body)
      return { body = why }
    end },
    { "/two-readers", get = function(request)
      local response = assert(tg.fetch(url(request)))
      local task = tg.spawn(function() return response.body:all() end)
      tg.sleep(0.02)
      local _, why = pcall(response.body.read, response.body)
      return { body = why .. " " .. task:join() }
    end },
    { "/detach", get = function(request)
      local there = url(request)
      tg.detach(function()
        local response, why = tg.fetch(there)
        tg.log.info("detached: " .. (response and response.body:all() or why))
      end)
      return { body = "detached" }
    end },
    { "/both-ways", post = function(request)
      local task = tg.spawn(function() return tg.fetch(url(request), { request = request }) end)
      tg.sleep(0.02)
      local _, why = pcall(request.body.read, request.body)
      local _, again = pcall(tg.fetch, url(request), { request = request })
      return { body = why .. "; " .. again, headers = { ["X-Status"] = task:join().status } }
    end },
  },
}
]]

local OK = "HTTP/1.1 200 OK\r\n"

local function percent(text)
  return (text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
end

describe("tg.fetch", function()
  local s, up

  setup(function()
    s = server.start({ script = SCRIPT, args = { "--quiet" }, env = {
      http_proxy = "http://127.0.0.1:1", all_proxy = "http://127.0.0.1:1", NO_PROXY = "",
    } })
  end)
  teardown(function() s:stop() end)
  before_each(function() up = upstream.listen() end)
  after_each(function() up:close() end)

  -- A client that has asked for this path of ours, which asks the spec's own server.
  local function ask(path, rest)
    local client = assert(raw.connect(s.port))
    local mark = path:find("?", 1, true) and "&" or "?"
    assert(client:send(("GET %s%sport=%d HTTP/1.1\r\nHost: a\r\n%s\r\n"):format(path, mark, up.port, rest or "")))
    return client
  end

  -- The answer to that request when the server behind says these bytes and closes.
  local function through(path, bytes)
    local client <close> = ask(path)
    local c <close> = up:answer(bytes)
    c:shutdown_write()
    return assert(client:read_response(10))
  end

  -- --- Responses -----------------------------------------------------------------------------------

  it("returns status, headers in any case, repeated ones as lists, and the body (B72)", function()
    local response = through("/tell", OK
      .. "X-One: 1\r\nx-two: a\r\nX-TWO: b\r\nConnection: x-gone\r\nX-Gone: 1\r\nContent-Length: 5\r\n\r\nhello")
    assert.equal('{"again":true,"body":"hello","length":5,"one":"1","status":200,"two":["a","b"]}', response.body)
  end)

  it("gives what a handler may return as it is: status, fields, length, body (B75)", function()
    local response = through("/get", "HTTP/1.1 418 I'm a teapot\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n"
      .. "Content-Type: x/y\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc")
    assert.equal(418, response.status)
    assert.same({ "a=1", "b=2" }, response.headers["set-cookie"])
    assert.same({ "x/y" }, response.headers["content-type"])
    assert.same({ "3" }, response.headers["content-length"])
    assert.is_nil(response.headers["keep-alive"])
    assert.is_nil(response.headers["connection"])
    assert.equal("abc", response.body)
  end)

  it("is a body by itself, of the media type and coding that the server said (B72)", function()
    local response = through("/body", OK
      .. "Content-Type: image/x\r\nContent-Encoding: gzip\r\nX-Other: 1\r\nContent-Length: 3\r\n\r\nabc")
    assert.equal(201, response.status)
    assert.same({ "image/x" }, response.headers["content-type"])
    assert.same({ "gzip" }, response.headers["content-encoding"])
    assert.is_nil(response.headers["x-other"])
    assert.equal("abc", response.body)
    response = through("/stream", OK .. "Content-Type: image/x\r\n\r\nabc")
    assert.same({ "text/x-own" }, response.headers["content-type"])
    assert.equal("abc", response.body)
  end)

  it("has headers that a script edits in any case (B75)", function()
    local response = through("/edit", OK .. "X-One: 1\r\nX-Two: 2\r\nX-Two: 3\r\nContent-Length: 0\r\n\r\n")
    assert.equal(203, response.status)
    assert.same({ "mine" }, response.headers["x-one"])
    assert.is_nil(response.headers["x-two"])
  end)

  it("has a body of each framing, and none where there is none (B72)", function()
    assert.equal("abcdef", through("/get", OK .. "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3;x=y\r\ndef\r\n0\r\nT: x\r\n\r\n").body)
    assert.equal("until the end", through("/get", OK .. "\r\nuntil the end").body)
    assert.equal("old", through("/get", "HTTP/1.0 200 OK\r\n\r\nold").body)
    assert.equal("", through("/get", "HTTP/1.1 204 No Content\r\n\r\n").body)
    assert.equal(304, through("/get", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n").status)
  end)

  it("asks for a head alone, and passes the length of what it did not get (B29)", function()
    local client <close> = assert(raw.connect(s.port))
    client:send(("HEAD /head?port=%d HTTP/1.1\r\nHost: a\r\n\r\n"):format(up.port))
    local c <close>, request = up:answer(OK .. "Content-Length: 1000\r\n\r\n")
    assert.equal("HEAD / HTTP/1.1", request.line)
    local response = client:read_response(5, { head = true })
    assert.same({ "1000" }, response.headers["content-length"])
    assert.is_not_nil(c)
  end)

  it("passes over 1xx responses (B75)", function()
    local response = through("/get", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
      .. OK .. "Content-Length: 2\r\n\r\nok")
    assert.equal(200, response.status)
    assert.is_nil(response.headers.link)
    assert.equal("ok", response.body)
  end)

  it("returns when the head is there, and the body's pieces as they come (B72)", function()
    local client <close> = ask("/chunks")
    local c <close> = up:answer(OK .. "Transfer-Encoding: chunked\r\n\r\n")
    c:send("3\r\none\r\n")
    local response = assert(client:read_head())
    assert.equal("[one]", client:read_chunk(response))
    c:send("3\r\ntwo\r\n")
    assert.equal("[two]", client:read_chunk(response))
    c:send("0\r\n\r\n")
    assert.is_nil(client:read_chunk(response))
    assert.is_true(response.complete)
  end)

  it("passes the head on before there is a body, and each piece at once (B19)", timed(function()
    local client <close> = ask("/get")
    local c <close> = up:answer(OK .. "Content-Type: text/event-stream\r\n\r\n")
    local response = assert(client:read_head())
    assert.same({ "text/event-stream" }, response.headers["content-type"])
    for i = 1, 3 do
      c:send("data: " .. i .. "\n\n")
      local sent = harness.now()
      assert.equal("data: " .. i .. "\n\n", client:read_chunk(response))
      assert.is_true(harness.now() - sent < 50)
    end
    c:shutdown_write()
    assert.is_nil(client:read_chunk(response))
    assert.is_true(response.complete)
  end))

  it("pipes the rest of a body whose beginning was read (B72)", function()
    local bytes = ("0123456789"):rep(50000) -- more than is held for a reader
    local response = through("/part", OK .. "Content-Length: 500000\r\n\r\n" .. bytes)
    assert.is_true(response.complete)
    assert.is_true(#response.body > 0 and #response.body < #bytes)
    assert.equal(bytes:sub(-#response.body), response.body)
  end)

  it("says so when the body that is to be sent was read already", function()
    assert.equal(500, through("/twice", OK .. "Content-Length: 3\r\n\r\nabc").status)
    s:wait_log("was read already", 5)
  end)

  it("reads a whole body up to a limit (B72)", function()
    assert.equal("abc", through("/all?limit=3", OK .. "Content-Length: 3\r\n\r\nabc").body)
    assert.equal(502, through("/all?limit=2", OK .. "Content-Length: 3\r\n\r\nabc").status)
  end)

  -- --- Requests ------------------------------------------------------------------------------------

  it("sends what it was told to and nothing of its own", function()
    local client <close> = ask("/get?path=/a/../b%3Fc%3Dd")
    local c <close>, request = up:answer(OK .. "Content-Length: 0\r\n\r\n")
    assert.equal(("GET /a/../b?c=d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"):format(up.port), request.raw)
    assert.equal(200, client:read_response().status)
    assert.is_not_nil(c)
  end)

  it("sends strings with their length, repeated headers, and empty ones", function()
    local client <close> = assert(raw.connect(s.port))
    client:send(("POST /post?port=%d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"):format(up.port))
    local c <close>, request = up:answer(OK .. "Content-Length: 0\r\n\r\n")
    assert.equal("POST / HTTP/1.1", request.line)
    assert.same({ "5" }, request.headers["content-length"])
    assert.same({ "1", "2" }, request.headers["x-a"])
    assert.same({ "" }, request.headers.empty)
    assert.is_nil(request.headers["expect"])
    assert.is_nil(request.headers["content-type"])
    assert.equal("12345", request.body)
    assert.is_not_nil(c)
    assert.equal(200, client:read_response().status)
  end)

  local function send_head(client, framing)
    assert(client:send(("PUT /send?port=%d HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n"):format(up.port, framing)))
  end

  it("streams request.body as it comes, with its length (B75)", function()
    local client <close> = assert(raw.connect(s.port))
    send_head(client, "Content-Length: 6")
    local c <close> = up:accept()
    local head = c:read_until("\r\n\r\n")
    assert.matches("^PUT / HTTP/1.1\r\n", head)
    assert.matches("\r\nContent%-Length: 6\r\n", head)
    client:send("abc")
    assert.equal("abc", c:read_bytes(3))
    client:send("def")
    assert.equal("def", c:read_bytes(3))
    c:send(OK .. "Content-Length: 0\r\n\r\n")
    assert.equal(200, client:read_response().status)
  end)

  it("streams request.body in chunks when it has no length (B75)", function()
    local client <close> = assert(raw.connect(s.port))
    send_head(client, "Transfer-Encoding: chunked")
    local c <close> = up:accept()
    assert.matches("\r\nTransfer%-Encoding: chunked\r\n", c:read_until("\r\n\r\n"))
    client:send("3\r\nabc\r\n")
    assert.equal("3\r\nabc\r\n", c:read_bytes(8))
    client:send("2\r\nde\r\n0\r\n\r\n")
    assert.equal("2\r\nde\r\n0\r\n\r\n", c:read_bytes(12))
    c:send(OK .. "Content-Length: 0\r\n\r\n")
    assert.equal(200, client:read_response().status)
  end)

  it("sends no body where the client's request has none", function()
    local client <close> = assert(raw.connect(s.port))
    client:send(("DELETE /send?port=%d HTTP/1.1\r\nHost: a\r\n\r\n"):format(up.port))
    local c <close>, request = up:answer(OK .. "Content-Length: 0\r\n\r\n")
    assert.equal("DELETE / HTTP/1.1", request.line)
    assert.is_nil(request.headers["content-length"])
    assert.is_nil(request.headers["transfer-encoding"])
    assert.is_not_nil(c)
    assert.equal(200, client:read_response().status)
  end)

  it("passes on an answer that comes before the body is whole (B75)", function()
    local client <close> = assert(raw.connect(s.port))
    send_head(client, "Content-Length: 1000000")
    local c <close> = up:accept()
    c:read_until("\r\n\r\n")
    c:send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
    local response = assert(client:read_response())
    assert.equal(413, response.status)
    assert.equal("big", response.body)
  end)

  it("answers 400 for a client's body that is badly framed, 413 for one too large (B51)", function()
    local client <close> = assert(raw.connect(s.port))
    send_head(client, "Transfer-Encoding: chunked")
    local c <close> = up:accept()
    c:read_until("\r\n\r\n")
    client:send("zzz\r\n")
    assert.equal(400, assert(client:read_response()).status)
    assert.is_true(c:is_closed())
  end)

  it("slows the client down when the server does not take its body (B72)", function()
    local client <close> = assert(raw.connect(s.port))
    send_head(client, "Content-Length: 1073741824")
    local c <close> = up:accept()
    c:read_until("\r\n\r\n")
    local block, sent = ("x"):rep(1048576), 0
    local before = s:rss()
    for _ = 1, 256 do
      local ok, _, some = client:send(block, 0.3)
      sent = sent + (ok and #block or some)
      if not ok then break end
    end
    assert.is_true(sent < 64 * 1048576, "nothing held it back")
    assert.is_true(server.sanitized or s:rss() - before < 2048)
  end)

  -- --- Bodies of requests that are produced ------------------------------------------------------

  local NONE = OK .. "Content-Length: 0\r\nConnection: close\r\n\r\n"

  -- The head and the connection of the request that this makes.
  local function produce(what)
    local client = ask("/produce/" .. what)
    local c = up:accept()
    return client, c, c:read_until("\r\n\r\n")
  end

  it("sends a table as JSON, a short body with its length (B72)", function()
    for what, body in pairs({ table = '{"a":1,"list":[1,2]}', empty = "[]", short = "short" }) do
      local client, c, head = produce(what)
      assert.matches("^POST / HTTP/1.1\r\n", head)
      assert.matches(("\r\nContent%%-Length: %d\r\n"):format(#body), head)
      assert.equal(what ~= "short", head:find("\r\nContent-Type: application/json\r\n", 1, true) ~= nil)
      assert.equal(body, c:read_bytes(#body))
      c:send(NONE)
      assert.equal(200, client:read_response().status)
      c:close()
    end
  end)

  it("sends what is produced as it comes, in chunks (B72)", function()
    local client, c, head = produce("fn")
    assert.matches("\r\nTransfer%-Encoding: chunked\r\n", head)
    for i = 1, 3 do assert.equal(("3\r\n<%d>\r\n"):format(i), c:read_bytes(8)) end
    assert.equal("0\r\n\r\n", c:read_bytes(5))
    c:send(NONE)
    assert.equal(200, client:read_response().status)
    c:close()
    client, c, head = produce("generator?type=application/x-ndjson")
    assert.matches("\r\ncontent%-TYPE: application/x%-ndjson\r\n", head)
    for i = 1, 3 do assert.equal(("2\r\n%d\n\r\n"):format(i), c:read_bytes(7)) end
    assert.equal("0\r\n\r\n", c:read_bytes(5))
    c:send(NONE)
    assert.equal(200, client:read_response().status)
    c:close()
  end)

  it("holds a producer back that is faster than the server (B72)", function()
    local client, c = produce("large")
    local before = s:rss()
    harness.sleep(0.3) -- all that takes anything is full by now
    assert.is_true(server.sanitized or s:rss() - before < 4096)
    client:close()
    c:close()
  end)

  it("sends another server's response on (B72)", function()
    local other <close> = upstream.listen()
    local client <close> = ask("/produce/other?other=" .. other.port)
    local c <close> = other:answer(OK .. "Content-Length: 5\r\nConnection: close\r\n\r\nhello")
    local d <close> = up:accept()
    local head = d:read_until("\r\n\r\n")
    local body = head:find("chunked", 1, true) and d:read_until("0\r\n\r\n") or d:read_bytes(5)
    assert.matches("hello", body)
    d:send(NONE)
    assert.equal(200, client:read_response().status)
    assert.is_not_nil(c)
  end)

  it("raises what a producer raises: before anything is asked, or in the middle (B15)", function()
    local response = ask("/produce/raise"):read_response()
    assert.equal(599, response.status)
    assert.matches("before$", response.body)
    assert.same({}, harness.poll({ up.socket }, 0.05))
    local client, c = produce("late")
    assert.equal("5\r\nbegun\r\n", c:read_bytes(10))
    assert.is_true(c:is_closed())
    response = client:read_response()
    assert.equal(599, response.status)
    assert.matches("in the middle$", response.body)
  end)

  it("ends the producer with the transfer, and with the client (B15, B73)", function()
    local client, c = produce("closed")
    c:send("HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    assert.equal(403, client:read_response().status)
    local _, line = s:wait_log("the producer was closed", 5)
    c:close()
    client, c = produce("closed")
    client:close()
    assert.is_true(c:is_closed())
    s:wait_log("the producer was closed", 5, line + 1)
  end)

  -- --- Connections ---------------------------------------------------------------------------------

  it("keeps connections, and uses them again", function()
    local client <close> = ask("/get?path=/1")
    local c <close> = up:answer(OK .. "Content-Length: 1\r\n\r\na")
    assert.equal("a", client:read_response().body)
    local other <close> = ask("/get?path=/2")
    assert.equal("GET /2 HTTP/1.1", c:read_request().line)
    c:send(OK .. "Content-Length: 1\r\n\r\nb")
    assert.equal("b", other:read_response().body)
  end)

  it("asks again on a new connection when a kept one turns out to be closed, but not a POST (B76)", function()
    local function first()
      local client <close> = ask("/get")
      local c = up:answer(OK .. "Content-Length: 1\r\n\r\na")
      assert.equal("a", client:read_response().body)
      return c
    end
    local c = first()
    local again <close> = ask("/get?path=/again")
    c:read_until("\r\n\r\n")
    c:close()
    local d <close>, request = up:answer(OK .. "Content-Length: 1\r\n\r\nb")
    assert.equal("GET /again HTTP/1.1", request.line)
    assert.equal("b", again:read_response().body)
    d:close()

    c = first()
    local client <close> = assert(raw.connect(s.port))
    client:send(("POST /send?port=%d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"):format(up.port))
    c:read_until("\r\n\r\n")
    c:close()
    assert.equal(502, client:read_response().status)
  end)

  it("may be asserted: its message has the failure's status, as it has (B74)", function()
    for path, status in pairs({ dead = 502, placed = 502, slow = 504, joined = 502, other = 500 }) do
      local response = raw.get(s.port, "/asserts/" .. path)
      assert.equal(status, response.status, path)
    end
    assert.matches("^502 enter %S.*connect", raw.get(s.port, "/handles-assert").body)
  end)

  it("does not use a connection again on which more came than was asked for (B74)", function()
    local client <close> = ask("/get")
    local c <close> = up:answer(OK .. "Content-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    assert.equal("a", client:read_response().body)
    local other <close> = ask("/get")
    local d <close> = up:answer(OK .. "Content-Length: 4\r\n\r\ngood")
    assert.equal("good", other:read_response().body)
    assert.is_not_nil(c)
    assert.is_not_nil(d)
  end)

  it("reaches servers on unix sockets", function()
    local path = s.dir .. "/up.sock"
    local unix <close> = upstream.listen(path)
    local client <close> = ask("/options?o=" .. percent(("{ unix = %q }"):format(path)))
    local c <close>, request = unix:answer(OK .. "Content-Length: 2\r\n\r\nhi")
    assert.same({ "127.0.0.1:" .. up.port }, request.headers.host)
    assert.equal("hi", client:read_response().body)
    assert.is_not_nil(c)
  end)

  it("follows redirects when asked to, and only then", function()
    local redirect = "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 2\r\n\r\nxx"
    assert.equal(302, through("/get", redirect).status)
    local client <close> = ask("/options?o=" .. percent("{ redirects = 1 }"))
    local c <close> = up:answer(redirect)
    local d <close>, request = up:answer(OK .. "Content-Length: 2\r\nConnection: close\r\n\r\nhi")
    assert.equal("GET /there HTTP/1.1", request.line)
    local response = client:read_response()
    assert.equal(200, response.status)
    assert.equal("hi", response.body)
    local many <close> = ask("/options?o=" .. percent("{ redirects = 1 }"))
    local e <close> = up:answer(redirect)
    local f <close> = up:answer(redirect)
    assert.matches('"kind":"redirects"', many:read_response().body)
    assert.is_not_nil(c and d and e and f)
  end)

  it("asks where it is sent in the way that the status says, and tells others no secrets", function()
    local other <close> = upstream.listen()
    local function sent_to(status, options, port)
      local client <close> = ask("/options?o=" .. percent(options))
      local c <close> = up:answer(("HTTP/1.1 %d x\r\nLocation: http://127.0.0.1:%d/there\r\nContent-Length: 0\r\n\r\n")
        :format(status, port))
      local to = port == up.port and up or other
      local d <close>, request = to:answer(OK .. "Content-Length: 0\r\nConnection: close\r\n\r\n")
      assert.equal(200, client:read_response().status)
      assert.is_not_nil(c and d)
      return request
    end
    local POST = '{ redirects = 1, body = "abc", headers = { Authorization = "secret", Cookie = "a=1", ["X-A"] = "1", Host = "h" } }'
    local request = sent_to(302, POST, up.port)
    assert.equal("GET /there HTTP/1.1", request.line)
    assert.is_nil(request.headers["content-length"])
    assert.same({ "secret" }, request.headers.authorization)
    request = sent_to(307, POST, up.port)
    assert.equal("POST /there HTTP/1.1", request.line)
    assert.equal("abc", request.body)
    request = sent_to(308, POST, other.port)
    assert.equal("abc", request.body)
    assert.is_nil(request.headers.authorization)
    assert.is_nil(request.headers.cookie)
    assert.same({ "1" }, request.headers["x-a"])
    assert.same({ "127.0.0.1:" .. other.port }, request.headers.host)
    assert.equal("GET /there HTTP/1.1", sent_to(303, '{ redirects = 1, method = "PUT", body = "abc" }', up.port).line)
    assert.equal("HEAD /there HTTP/1.1", sent_to(303, '{ redirects = 1, method = "HEAD" }', up.port).line)
  end)

  it("waits for room where there are as many connections as there may be", function()
    local t <close> = server.start({ script = [[
local tg = require("tidegate")
return { workers = 1, limits = { upstream_connections_per_host = 1 }, routes = {
  { "/", get = function(request) return assert(tg.fetch("http://127.0.0.1:" .. request.query.port .. "/" .. request.query.n)) end },
} }]], args = { "--quiet" } })
    local clients = {}
    for i = 1, 3 do
      clients[i] = assert(raw.connect(t.port))
      clients[i]:send(("GET /?n=%d&port=%d HTTP/1.1\r\nHost: a\r\n\r\n"):format(i, up.port))
      assert.is_true(clients[i]:is_silent(0.05))
    end
    local c = up:accept()
    assert.equal("GET /1 HTTP/1.1", c:read_request().line)
    assert.same({}, harness.poll({ up.socket }, 0.1))
    clients[2]:close() -- it will not be asked for
    c:send(OK .. "Content-Length: 1\r\n\r\n1")
    assert.equal("1", clients[1]:read_response().body)
    assert.equal("GET /3 HTTP/1.1", c:read_request().line)
    c:send(OK .. "Content-Length: 1\r\nConnection: close\r\n\r\n3")
    assert.equal("3", clients[3]:read_response().body)
    c:close()
  end)

  it("follows no redirect to another protocol", function()
    local client <close> = ask("/options?o=" .. percent("{ redirects = 3 }"))
    local c <close> = up:answer("HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n")
    assert.matches('"status":502', client:read_response().body)
    assert.is_not_nil(c)
  end)

  -- --- Several at once -----------------------------------------------------------------------------

  it("waits for two at the same time (B77)", function()
    local client <close> = ask("/two")
    local c <close> = up:accept()
    local d <close> = up:accept()
    local first, second = c:read_request().line, d:read_request().line
    assert.same({ ["GET /1 HTTP/1.1"] = true, ["GET /2 HTTP/1.1"] = true }, { [first] = true, [second] = true })
    d:send(OK .. "Content-Length: 1\r\n\r\n" .. second:match("%d"))
    c:send(OK .. "Content-Length: 1\r\n\r\n" .. first:match("%d"))
    assert.equal("12", client:read_response().body)
  end)

  it("sends two bodies in one response at the same time, to a client that is slow", function()
    local size = 6000000
    local client <close> = assert(raw.connect(s.port, { rcvbuf = 8192 }))
    client:send("GET /both?port=" .. up.port .. " HTTP/1.1\r\nHost: a\r\n\r\n")
    local c <close> = up:accept()
    local d <close> = up:accept()
    local left = { [c] = size, [d] = size }
    for connection in pairs(left) do
      connection:read_request()
      connection:send(OK .. "Content-Length: " .. size .. "\r\n\r\n")
    end
    local function feed()
      local sent = 0
      for connection, bytes in pairs(left) do
        local taken = bytes > 0 and connection.client.socket:send_some(("x"):rep(math.min(bytes, 65536)))
        left[connection] = bytes - (taken or 0)
        sent = sent + (taken or 0)
      end
      return sent
    end
    repeat -- until neither takes more, as the client does not
      local sent = feed()
      if sent == 0 then
        s:cpu_after_rest()
        sent = feed()
      end
    until sent == 0
    local response = assert(client:read_head())
    local got = 0
    while got < 2 * size do
      feed()
      got = got + #assert(client:read_chunk(response, 5))
    end
    assert.equal(2 * size, got)
    assert.is_nil(client:read_chunk(response))
    assert.is_true(response.complete)
  end)

  it("ends with the task that waits for it (B15)", timed(function()
    local client <close> = ask("/cancel")
    local c <close> = up:accept()
    local start = harness.now()
    assert.is_true(c:is_closed())
    assert.is_true(harness.now() - start < 1500)
    assert.is_true(client:is_silent(0))
  end))

  it("ends with the task that reads it (B15)", function()
    local client <close> = ask("/cancel-reader")
    local c <close> = up:answer(OK .. "Content-Length: 9\r\n\r\nabc")
    assert.is_true(c:is_closed())
    assert.equal("the body of this response was closed", client:read_response().body)
  end)

  it("has one reader at a time", function()
    local client <close> = ask("/two-readers")
    local c <close> = up:answer(OK .. "Content-Length: 6\r\n\r\nabc")
    assert.is_true(client:is_silent(0.1))
    c:send("def")
    assert.equal("another task reads the body of this response abcdef", client:read_response().body)
  end)

  it("has a request's body to itself while it sends it", function()
    local client <close> = assert(raw.connect(s.port))
    client:send(("POST /both-ways?port=%d HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab"):format(up.port))
    local c <close> = up:accept()
    c:read_until("\r\n\r\nab")
    client:send("cd")
    c:read_until("cd")
    c:send(OK .. "Content-Length: 0\r\n\r\n")
    local response = client:read_response()
    assert.same({ "200" }, response.headers["x-status"])
    assert.equal("the request's body is being sent to another server; fetch: another task reads the request's body",
      response.body)
  end)

  it("outlives the exchange in a task that does (B72)", function()
    local client <close> = ask("/detach")
    local c <close> = up:accept()
    assert.equal("detached", client:read_response().body)
    client:close()
    c:read_request()
    c:send(OK .. "Content-Length: 5\r\n\r\nhello")
    s:wait_log("detached: hello", 5)
  end)

  -- --- Mistakes ------------------------------------------------------------------------------------

  it("raises what is wrong with its arguments", function()
    for options, why in pairs({
      ['{ metod = "GET" }'] = 'unknown option "metod"',
      ['{ "x" }'] = "options are named",
      ['{ method = "CONNECT" }'] = "not CONNECT",
      ['{ method = "G ET" }'] = "CONNECT",
      ['{ headers = { ["a b"] = "1" } }'] = "no token",
      ['{ headers = { a = "1\\r\\nb: 2" } }'] = "line break",
      ['{ headers = { ["Transfer-Encoding"] = "chunked" } }'] = "of the connection",
      ['{ headers = { Connection = "close" } }'] = "of the connection",
      ['{ headers = { a = {} , b = true } }'] = "is a boolean",
      ['{ body = true }'] = "expected a string or a body, got a boolean",
      ['{ body = {}, headers = { ["Content-Type"] = "image/png" } }'] = "no format prints a table",
      ['{ body = "abc", headers = { ["Content-Length"] = 4 } }'] = "does not have the length",
      ['{ timeout = -1 }'] = "seconds of zero or more",
      ['{ version = "3" }'] = 'expected "1.0"',
      ['{ insecure = 1 }'] = "true or false",
      ['{ redirects = 1.5 }'] = "an integer",
      ['{ unix = "" }'] = "empty",
    }) do
      local client <close> = ask("/options?o=" .. percent(options))
      local response = client:read_response()
      assert.equal(400, response.status, options)
      assert.matches(why, response.body, 1, true)
    end
    for _, url in ipairs({ "ftp://a/", "file:///etc/passwd", "/x", "http://a/b c", "http://a/\r\nX: y", "http://a/ä" }) do
      assert.matches("expected an http or https URL", raw.get(s.port, "/mistake?url=" .. percent(url)).body)
    end
    assert.matches("fetch: ", raw.get(s.port, "/mistake?url=" .. percent("http://a:port/")).body)
  end)

  it("cannot be called while the script loads", function()
    local path = s.dir .. "/early.lua"
    server.write(path, 'require("tidegate").fetch("http://127.0.0.1:1/") return {}')
    local result = server.command({ "check", path })
    assert.equal(1, result.exit)
    assert.matches("cannot wait here", result.stderr)
  end)

  -- --- Ends ----------------------------------------------------------------------------------------

  it("is cancelled with its exchange while it waits for a head (B73)", timed(function()
    local client = ask("/get")
    local c <close> = up:accept()
    c:read_until("\r\n\r\n")
    client:close()
    local left = harness.now()
    assert.is_true(c:is_closed())
    assert.is_true(harness.now() - left < (server.sanitized and 1000 or 100))
  end))

  it("is cancelled with its exchange in the middle of a body, pumped or read (B73)", timed(function()
    for _, path in ipairs({ "/get", "/chunks" }) do
      local client = ask(path)
      local c <close> = up:answer(OK .. "Content-Length: 1000\r\n\r\nabc")
      client:read_head()
      client:close()
      local left = harness.now()
      assert.is_true(c:is_closed())
      assert.is_true(harness.now() - left < (server.sanitized and 1000 or 100))
    end
  end))

  it("is cancelled when the exchange ends without a look at its body (B73)", function()
    local client <close> = ask("/keep")
    local c <close> = up:answer(OK .. "Content-Length: 1000\r\n\r\nabc")
    assert.equal("kept", client:read_response().body)
    assert.is_true(c:is_closed())
    assert.equal('{"ok":false,"why":"the body of this response was closed"}', raw.get(s.port, "/kept").body)
  end)

  it("is closed by body:close(), by a <close> variable and by collection (B15)", timed(function()
    for _, path in ipairs({ "/close?sleep=2", "/leave?sleep=2", "/drop" }) do
      local client <close> = ask(path)
      local c <close> = up:answer(OK .. "Content-Length: 1000\r\n\r\nabc")
      local start = harness.now()
      assert.is_true(c:is_closed())
      assert.is_true(harness.now() - start < 1500, path)
      assert.is_true(client:is_silent(0))
    end
  end))

  it("leaves no descriptor and no connection behind, whatever the end (B15)", function()
    local function round()
      for _, bytes in ipairs({
        OK .. "Content-Length: 3\r\nConnection: close\r\n\r\nabc", OK .. "Content-Length: 9\r\n\r\nabc",
        OK .. "\r\nabc", "nonsense\r\n\r\n", OK .. "Content-Length: x\r\n\r\n",
      }) do
        for _, path in ipairs({ "/get", "/chunks", "/all", "/close", "/leave" }) do through(path, bytes) end
      end
      local gone = ask("/get")
      local c <close> = up:accept()
      gone:close()
      assert.is_true(c:is_closed())
    end
    round()
    local fds = s:fds()
    for _ = 1, 3 do round() end
    server.eventually(function() return s:fds() <= fds end)
  end)
end)

-- Servers that lie, hang, refuse and break off: a clear status, or an abort, and nothing left behind.
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")
local upstream = require("upstream")

local SCRIPT = [[
local tg = require("tidegate")

local function fetch(request, options)
  local scheme = request.query.scheme or "http"
  return tg.fetch(scheme .. "://127.0.0.1:" .. request.query.port .. "/", options)
end

local function told(response, why, failure)
  if response then return response end
  return { status = failure.status, body = failure.kind .. ": " .. why,
    headers = { ["X-Sent"] = tostring(failure.sent) } }
end

return {
  limits = { upstream_head_bytes = 65536, response_timeout = 2 },
  routes = {
    { "/get", get = function(request) return told(fetch(request)) end },
    { "/raise", get = function(request)
      local response, _, failure = fetch(request)
      return response or error(failure)
    end },
    { "/short", get = function(request)
      return told(fetch(request, { timeout = 0.3, connect_timeout = 0.3, idle_timeout = 0.3 }))
    end },
    { "/patient", get = function(request)
      return told(fetch(request, { timeout = 0, connect_timeout = 0, idle_timeout = 0 }))
    end },
    { "/all", get = function(request)
      local response, why, failure = fetch(request)
      if not response then return told(response, why, failure) end
      return { body = response.body:all() }
    end },
    { "/late", get = function(request)
      local response = assert(fetch(request))
      return { body = function(out)
        out:write("begun ") out:flush()
        out:write(response.body:all())
      end }
    end },
    { "/decode", get = function(request)
      local response, why, failure = fetch(request, { decode = math.tointeger(request.query.decode) or true })
      return told(response, why, failure)
    end },
    { "/ok", get = function() return { body = "ok" } end },
  },
}
]]

local OK = "HTTP/1.1 200 OK\r\n"

describe("a server behind the gateway", function()
  local s, up

  setup(function() s = server.start({ script = SCRIPT, args = { "--quiet" } }) end)
  teardown(function() s:stop() end)
  before_each(function() up = upstream.listen() end)
  after_each(function() up:close() end)

  local function ask(path, port)
    local client = assert(raw.connect(s.port))
    local mark = path:find("?", 1, true) and "&" or "?"
    assert(client:send(("GET %s%sport=%d HTTP/1.1\r\nHost: a\r\n\r\n"):format(path, mark, port or up.port)))
    return client
  end

  -- What comes of it when the server says these bytes and closes, or resets.
  local function through(path, bytes, ending)
    local client <close> = ask(path)
    local c <close> = up:accept()
    c:read_request()
    c:send(bytes)
    if ending == "reset" then c:reset() elseif ending ~= "open" then c:shutdown_write() end
    local response, why = client:read_response(10)
    return assert(response, why)
  end

  -- --- Before there is a head ----------------------------------------------------------------------

  it("that refuses is a 502 (B74)", function()
    local port = up.port
    up:close()
    local response = ask("/get", port):read_response()
    assert.equal(502, response.status)
    assert.matches("^connect: ", response.body)
    assert.same({ "false" }, response.headers["x-sent"])
    assert.equal(502, ask("/raise", port):read_response().status)
  end)

  local BAD = {
    { "no HTTP", "220 ftp ready\r\n\r\n", "protocol" },
    { "HTTP/0.9", "<html>hello</html>\r\n\r\n", "protocol" },
    { "another version", "HTTP/3.0 200 OK\r\n\r\n", "protocol" },
    { "a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", "protocol" },
    { "a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", "protocol" },
    { "a status below 100", "HTTP/1.1 099 OK\r\n\r\n", "protocol" },
    { "an upgrade that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nxxx", "protocol" },
    { "two lengths", OK .. "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "protocol" },
    { "the same length twice", OK .. "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "protocol" },
    { "a list of lengths", OK .. "Content-Length: 3, 3\r\n\r\nabc", "protocol" },
    { "a length that is none", OK .. "Content-Length: 0x3\r\n\r\nabc", "protocol" },
    { "a signed length", OK .. "Content-Length: +3\r\n\r\nabc", "protocol" },
    { "a negative length", OK .. "Content-Length: -3\r\n\r\nabc", "protocol" },
    { "an endless length", OK .. "Content-Length: 99999999999999999999\r\n\r\nabc", "protocol" },
    { "two framings", OK .. "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "protocol" },
    { "two framings, the other way", OK .. "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", "protocol" },
    { "an unknown coding", OK .. "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "protocol" },
    { "chunked twice", OK .. "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "protocol" },
    { "chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "protocol" },
    { "a CR in a value", OK .. "X: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n", "protocol" },
    { "a NUL in a value", OK .. "X: a\0b\r\nContent-Length: 0\r\n\r\n", "protocol" },
    { "another control character", OK .. "X: a\1b\r\nContent-Length: 0\r\n\r\n", "protocol" },
    { "a folded field", OK .. "X: a\r\n b\r\nContent-Length: 0\r\n\r\n", "protocol" },
    { "a field without a colon", OK .. "X\r\nContent-Length: 0\r\n\r\n", "protocol" },
    { "a field without a name", OK .. ": x\r\nContent-Length: 0\r\n\r\n", "protocol" },
    { "a space before the colon", OK .. "Content-Length : 0\r\n\r\n", "protocol" },
    { "a flood of 1xx", ("HTTP/1.1 103 Early Hints\r\n\r\n"):rep(100), "protocol" },
    { "a bomb of a field", OK .. "X: " .. ("x"):rep(80000) .. "\r\n\r\n", "limit" },
    { "a bomb of fields", OK .. ("X: 1\r\n"):rep(1000) .. "\r\n", "limit" },
    { "a bomb of bytes", OK .. ("X: " .. ("x"):rep(1000) .. "\r\n"):rep(100) .. "\r\n", "limit" },
    { "nothing", "", "closed" },
    { "half a head", OK .. "X: ", "closed" },
    { "half a status line", "HTTP/1.", nil },
  }

  for _, case in ipairs(BAD) do
    it("that answers with " .. case[1] .. " is a 502 (B74)", function()
      local response = through("/get", case[2])
      assert.equal(502, response.status)
      assert.same({ "true" }, response.headers["x-sent"])
      if case[3] then assert.equal(case[3], response.body:match("^%a+")) end
      assert.equal("ok", raw.get(s.port, "/ok").body)
    end)
  end

  it("that resets before it has answered is a 502 (B74)", function()
    assert.equal(502, through("/get", "", "reset").status)
    assert.equal(502, through("/get", OK .. "X: ", "reset").status)
  end)

  it("whose head never ends is a 502 once it is too large (B74)", function()
    local client <close> = ask("/get")
    local c <close> = up:answer(OK .. "X: ")
    local line = ("x"):rep(16384)
    for _ = 1, 200 do
      if not c:send(line, 1) then break end
    end
    local response = client:read_response()
    assert.equal(502, response.status)
    assert.equal("limit", response.body:match("^%a+"))
  end)

  -- --- Hanging -------------------------------------------------------------------------------------

  it("that takes no connection is a 504 (B74)", timed(function()
    local full <close> = upstream.listen(0, { backlog = 0 })
    local held = {}
    for i = 1, 8 do -- until the queue is full
      held[i] = harness.connect(full.port, { timeout = 0.1 })
      if not held[i] then break end
    end
    local start = harness.now()
    local response = ask("/short", full.port):read_response()
    assert.equal(504, response.status)
    assert.matches("^timeout: ", response.body)
    assert.same({ "false" }, response.headers["x-sent"])
    assert.is_true(harness.now() - start < 2000)
    for _, socket in ipairs(held) do socket:close() end
  end))

  it("that says nothing in the handshake is a 504 (B74)", function()
    local client <close> = ask("/short?scheme=https")
    local c <close> = up:accept()
    local response = client:read_response()
    assert.equal(504, response.status)
    assert.same({ "false" }, response.headers["x-sent"])
    assert.is_true(c:is_closed())
  end)

  it("that speaks no TLS is a 502 (B74)", function()
    local client <close> = ask("/get?scheme=https")
    local c <close> = up:accept()
    c:send("HTTP/1.1 400 Bad Request\r\n\r\n")
    local response = client:read_response()
    assert.equal(502, response.status)
    assert.matches("^tls: ", response.body)
  end)

  it("that does not answer, or not to the end of its head, is a 504 (B74)", function()
    for _, bytes in ipairs({ "", "HTTP/1.1 2", OK .. "X: y\r\n", "HTTP/1.1 100 Continue\r\n\r\n" }) do
      local client <close> = ask("/short")
      local c <close> = up:answer(bytes)
      local response = client:read_response()
      assert.equal(504, response.status)
      assert.same({ "true" }, response.headers["x-sent"])
      assert.is_true(c:is_closed())
    end
  end)

  it("that trickles a head is a 504 all the same (B74)", function()
    local client <close> = ask("/short")
    local c <close> = up:answer(OK)
    local response
    for i = 1, 100 do
      c:send("X: " .. i .. "\r\n")
      if not client:is_silent(0.02) then break end
    end
    response = client:read_response()
    assert.equal(504, response.status)
  end)

  it("is a 504 by limits.response_timeout where the fetch has no limit of its own (B12)", function()
    local client <close> = ask("/patient")
    local c <close> = up:answer("")
    assert.equal(504, client:read_response(10).status)
    assert.is_true(c:is_closed())
  end)

  it("that hangs in the middle of a body cuts the client's (B33)", function()
    local client <close> = ask("/short")
    local c <close> = up:answer(OK .. "Content-Length: 10\r\n\r\nabc")
    local response = client:read_response()
    assert.is_false(response.complete)
    assert.equal("abc", response.body)
    assert.is_true(c:is_closed())
  end)

  -- --- Broken bodies -------------------------------------------------------------------------------

  local BROKEN = {
    { "is shorter than its length", OK .. "Content-Length: 10\r\n\r\nabc" },
    { "ends without its last chunk", OK .. "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" },
    { "ends within a chunk", OK .. "Transfer-Encoding: chunked\r\n\r\n5\r\nabc" },
    { "has a chunk size that is none", OK .. "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n" },
    { "has a negative chunk size", OK .. "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n-1\r\n" },
    { "has a chunk size without an end", OK .. "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" .. ("1"):rep(64) },
    { "has a chunk that is longer than its size", OK .. "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n" },
    { "has trailers without an end", OK .. "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n" .. ("T: t\r\n"):rep(20000) },
  }

  for _, case in ipairs(BROKEN) do
    it("whose body " .. case[1] .. " truncates the client's, or is a 502 (B74)", function()
      local response = through("/get", case[2])
      if response.status ~= 502 then
        assert.equal(200, response.status)
        assert.is_false(response.complete)
        assert.equal(("abc"):sub(1, #response.body), response.body)
      end
      assert.equal(502, through("/all", case[2]).status)
      response = through("/late", case[2])
      assert.is_false(response.complete)
      assert.equal("begun ", response.body)
      assert.equal("ok", raw.get(s.port, "/ok").body)
    end)
  end

  it("that resets in the middle of a body truncates the client's, whatever frames it (B74)", function()
    for _, framing in ipairs({ "Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n", "" }) do
      local client <close> = ask("/get")
      local c <close> = up:answer(OK .. framing .. "\r\n")
      c:send(framing:find("chunked") and "3\r\nabc\r\n" or "abc")
      local response = assert(client:read_head())
      assert.equal("abc", client:read_chunk(response))
      c:reset()
      assert.is_nil(client:read_chunk(response))
      assert.is_false(response.complete)
    end
  end)

  it("that has more to say than it said is not believed (B74)", function()
    local response = through("/get", OK .. "Content-Length: 3\r\n\r\nabcdef")
    assert.is_true(response.complete)
    assert.equal("abc", response.body)
  end)

  -- --- Coded bodies --------------------------------------------------------------------------------

  -- gzip of so many bytes, by the gzip command.
  local function gzip(command)
    local pipe <close> = assert(io.popen(command .. " | gzip -9c"))
    return pipe:read("a")
  end

  it("has its codings undone when that is asked for (B72)", function()
    local zipped = gzip("printf 'hello hello hello'")
    local head = OK .. "Content-Encoding: gzip\r\nContent-Length: " .. #zipped .. "\r\n\r\n"
    local response = through("/decode", head .. zipped)
    assert.is_nil(response.headers["content-encoding"])
    assert.equal("hello hello hello", response.body)
    assert.equal(zipped, through("/get", head .. zipped).body)
    response = through("/decode", OK .. "Content-Length: 5\r\n\r\nplain")
    assert.equal("plain", response.body)
  end)

  it("that sends a bomb is cut at the limit, and held back by a slow client (B72)", function()
    local bomb = gzip("head -c 200000000 /dev/zero")
    local head = OK .. "Content-Encoding: gzip\r\nContent-Length: " .. #bomb .. "\r\n\r\n"
    local response = through("/decode?decode=1000000", head .. bomb)
    assert.is_true(response.status == 502 or not response.complete)
    assert.is_true(#response.body <= 1000000)

    local before = s:rss()
    local client <close> = ask("/decode")
    local c <close> = up:answer(head)
    c:send(bomb, 0.5)
    assert.is_true(client:read_head().status == 200)
    harness.sleep(0.2)
    assert.is_true(server.sanitized or s:rss() - before < 2048)
  end)

  it("whose codings are broken truncates the client's body, or is a 502 (B74)", function()
    for _, coded in ipairs({ "not gzip at all", gzip("head -c 100000 /dev/urandom"):sub(1, 5000) }) do
      local head = OK .. "Content-Encoding: gzip\r\nContent-Length: " .. #coded .. "\r\n\r\n"
      local response = through("/decode", head .. coded)
      assert.is_true(response.status == 502 or not response.complete)
    end
  end)

  it("leaves no descriptor behind, however it fails (B15)", function()
    local function round()
      for _, case in ipairs(BAD) do through("/get", case[2]) end
      for _, case in ipairs(BROKEN) do through("/late", case[2]) end
      through("/get", "", "reset")
    end
    round()
    local fds, memory = s:fds(), s:rss()
    for _ = 1, 3 do round() end
    server.eventually(function() return s:fds() <= fds end)
    assert.is_true(server.sanitized or s:rss() - memory < 1024)
  end)
end)

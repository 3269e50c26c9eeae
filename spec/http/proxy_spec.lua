-- tg.proxy: what goes to the server behind it, and what comes back.
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")
local upstream = require("upstream")

local OK = "HTTP/1.1 200 OK\r\n"

-- The upstream's port is known before the script is written.
local function script(port, unix)
  return ([[
local tg = require("tidegate")
local URL = "http://127.0.0.1:%d"
local closing = {}
return {
  workers = 1,
  interceptors = { {
    name = "stamp",
    leave = function(ctx)
      if ctx.request.query.wrap and ctx.response then
        local inner = ctx.response.body
        ctx.response.body = tg.seq(inner:chunks())
        ctx.response.headers["content-type"] = "application/json"
        ctx.response.status = 299
      end
      if ctx.request.query.stamp then
        ctx.response.headers["X-Stamp"] = "leave"
        ctx.response.headers["set-cookie"] = { "mine=1" }
      end
    end,
    error = function(ctx, err)
      if not ctx.request.query.handle then error(err) end
      ctx.response = { status = err.status, body = "handled: " .. err.message }
    end,
  } },
  routes = {
    { "/plain/*path", any = tg.proxy(URL) },
    { "/api/*path", any = tg.proxy(URL .. "/base/", { strip = "/api" }) },
    { "/path/*path", any = tg.proxy(URL, { path = function(path, request, ctx)
      return path:upper() .. (ctx.request == request and "" or "?")
    end }) },
    { "/preserve/*path", any = tg.proxy(URL, { host = "preserve" }) },
    { "/literal/*path", any = tg.proxy(URL, { host = "app.example", via = "edge" }) },
    { "/rfc/*path", any = tg.proxy(URL, { forwarded = "forwarded", via = false }) },
    { "/none/*path", any = tg.proxy(URL, { forwarded = "none", via = false }) },
    { "/trust/*path", any = tg.proxy(URL, { trust = true }) },
    { "/edit/*path", any = tg.proxy(URL, {
      request_headers = function(headers, request)
        headers["USER-AGENT"] = nil
        headers["X-Path"] = request.path
        headers["accept"] = { "a/b", "c/d" }
      end,
      response_headers = function(headers, response)
        headers["x-gone"] = nil
        headers["X-Was"] = response.status
      end,
    }) },
    { "/table/*path", any = tg.proxy(URL, {
      request_headers = { ["User-Agent"] = "gate", Cookie = false },
      response_headers = { Server = false, ["X-New"] = "1" },
    }) },
    { "/set/*path", interceptors = { { name = "set", enter = function(ctx)
      ctx.request.headers["X-User"] = "bob"
      ctx.request.headers["Cookie"] = nil
      ctx.request.headers["Accept"] = "x/y"
    end } }, any = tg.proxy(URL) },
    { "/short/*path", any = tg.proxy(URL, { timeout = 0.2, idle_timeout = 0.3 }) },
    { "/refused/*path", any = tg.proxy("http://127.0.0.1:1") },
    { "/unix/*path", any = tg.proxy("unix:%s", { strip = "/unix" }) },
    { "/chosen/*path", any = tg.proxy(function(request, ctx)
      local targets = { url = URL, unix = "unix:%s", pool = tg.pool { targets = { URL } }, bad = "nonsense" }
      return targets[request.query.to], ctx
    end) },
    { "/within/*path", any = function(request, ctx)
      local response = tg.proxy(URL)(request, ctx)
      response.headers["X-Within"] = "yes"
      return response
    end },
    { "/mistake", get = function(request)
      local target, options = load("return " .. request.query.o)()
      local _, why = pcall(tg.proxy, target, options)
      return { body = tostring(why) }
    end },
  },
}
]]):format(port, unix, unix)
end

describe("tg.proxy", function()
  local s, up, unix

  setup(function()
    up = upstream.listen()
    local path = server.folder() .. "/up.sock"
    unix = upstream.listen(path)
    s = server.start({ script = script(up.port, path), args = { "--quiet" } })
  end)
  teardown(function()
    s:stop()
    up:close()
    unix:close()
  end)

  local function send(text)
    local client = assert(raw.connect(s.port))
    assert(client:send(text))
    return client
  end

  -- The request that the server behind gets for this one, and the response to bytes from there.
  local function through(path, headers, bytes, from)
    local client <close> = send(("GET %s HTTP/1.1\r\nHost: gate.example:8080\r\n%s\r\n"):format(path, headers or ""))
    local c <close>, request = (from or up):answer(bytes or OK .. "Content-Length: 2\r\nConnection: close\r\n\r\nok")
    c:shutdown_write()
    local response = assert(client:read_response(10))
    return request, response
  end

  -- --- Requests ------------------------------------------------------------------------------------

  it("passes method, path and query on as they are (B75)", function()
    local request = through("/plain/a%2Fb/c;d=e?x=%20&y")
    assert.equal("GET /plain/a%2Fb/c;d=e?x=%20&y HTTP/1.1", request.line)
  end)

  it("rewrites paths: a prefix off, the target's own before, a function (B75)", function()
    assert.equal("GET /base/users/1?q HTTP/1.1", through("/api/users/1?q").line)
    assert.equal("GET /PATH/X HTTP/1.1", through("/path/x").line)
  end)

  it("refuses paths that mean another one to whoever normalises them", function()
    for _, path in ipairs({
      "/plain/../x", "/plain/x/..", "/plain/./x", "/plain/%2e%2e/x", "/plain/.%2E/x", "/plain/a%2f..%2fb",
      "/plain/a\\..\\b", "/plain/a%5c..%5Cb",
    }) do
      local response = raw.get(s.port, path)
      assert.equal(400, response.status, path)
    end
    for _, path in ipairs({ "/plain/.hidden", "/plain/a..b", "/plain/...", "/plain/a%2Eb" }) do
      assert.equal("GET " .. path .. " HTTP/1.1", through(path).line)
    end
  end)

  it("drops what is of the connection, and what Connection names (B75)", function()
    local request = through("/plain/x", "Connection: keep-alive, X-One, close\r\nConnection: x-two\r\nX-One: 1\r\n"
      .. "X-Two: 2\r\nX-Three: 3\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nUpgrade: websocket\r\n"
      .. "Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nTrailer: X-T\r\n")
    for _, name in ipairs({
      "connection", "x-one", "x-two", "keep-alive", "te", "upgrade", "proxy-connection", "proxy-authorization", "trailer",
    }) do
      assert.is_nil(request.headers[name], name)
    end
    assert.same({ "3" }, request.headers["x-three"])
  end)

  it("keeps repeated fields repeated, in their order (B75)", function()
    local request = through("/plain/x", "X-A: 1\r\nX-B: 2\r\nx-a: 3\r\nCookie: a=1\r\nCookie: b=2\r\n")
    assert.same({ "1", "3" }, request.headers["x-a"])
    assert.same({ "a=1", "b=2" }, request.headers.cookie)
  end)

  it("says who asked, and believes no client about that (B75)", function()
    local theirs = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n"
      .. "X-Forwarded-Server: evil\r\nForwarded: for=6.6.6.6\r\nVia: 1.0 first\r\n"
    local request = through("/plain/x", theirs)
    assert.same({ "127.0.0.1" }, request.headers["x-forwarded-for"])
    assert.same({ "http" }, request.headers["x-forwarded-proto"])
    assert.same({ "gate.example:8080" }, request.headers["x-forwarded-host"])
    assert.is_nil(request.headers["x-forwarded-server"])
    assert.is_nil(request.headers.forwarded)
    assert.same({ "1.0 first", "1.1 tidegate" }, request.headers.via)
  end)

  it("adds to what a trusted client said (B75)", function()
    local request = through("/trust/x",
      "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Proto: https\r\n")
    assert.same({ "6.6.6.6, 7.7.7.7, 127.0.0.1" }, request.headers["x-forwarded-for"])
    assert.same({ "https" }, request.headers["x-forwarded-proto"])
    assert.same({ "gate.example:8080" }, request.headers["x-forwarded-host"])
  end)

  it("says it in RFC 7239's way, or not at all (B75)", function()
    local request = through("/rfc/x")
    assert.same({ 'for=127.0.0.1;host="gate.example:8080";proto=http' }, request.headers.forwarded)
    assert.is_nil(request.headers["x-forwarded-for"])
    assert.is_nil(request.headers.via)
    request = through("/none/x", "X-Forwarded-For: 6.6.6.6\r\n")
    assert.is_nil(request.headers.forwarded)
    assert.is_nil(request.headers["x-forwarded-for"])
  end)

  it("sends the server's own name as Host, or the client's, or another (B75)", function()
    assert.same({ "127.0.0.1:" .. up.port }, through("/plain/x").headers.host)
    assert.same({ "gate.example:8080" }, through("/preserve/x").headers.host)
    local request = through("/literal/x")
    assert.same({ "app.example" }, request.headers.host)
    assert.same({ "1.1 edge" }, request.headers.via)
  end)

  it("lets a function or a table edit the headers (B75)", function()
    local request, response = through("/edit/x", "User-Agent: me\r\nAccept: z\r\n",
      OK .. "X-Gone: 1\r\nX-GONE: 2\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    assert.is_nil(request.headers["user-agent"])
    assert.same({ "/edit/x" }, request.headers["x-path"])
    assert.same({ "a/b", "c/d" }, request.headers.accept)
    assert.is_nil(response.headers["x-gone"])
    assert.same({ "200" }, response.headers["x-was"])
    request, response = through("/table/x", "User-Agent: me\r\nCookie: a=1\r\n",
      OK .. "Server: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    assert.same({ "gate" }, request.headers["user-agent"])
    assert.is_nil(request.headers.cookie)
    assert.is_nil(response.headers.server)
    assert.same({ "1" }, response.headers["x-new"])
  end)

  it("passes on what an interceptor did to request.headers", function()
    local request = through("/set/x", "Cookie: a=1\r\nAccept: z\r\nX-Other: 1\r\n")
    assert.same({ "bob" }, request.headers["x-user"])
    assert.is_nil(request.headers.cookie)
    assert.same({ "x/y" }, request.headers.accept)
    assert.same({ "1" }, request.headers["x-other"])
  end)

  it("streams bodies both ways at the same time (B75)", function()
    local client <close> = send("POST /plain/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    local c <close> = up:accept()
    assert.matches("\r\nTransfer%-Encoding: chunked\r\n", c:read_until("\r\n\r\n"))
    c:send(OK .. "Transfer-Encoding: chunked\r\n\r\n")
    local response = assert(client:read_head())
    for i = 1, 5 do
      client:send("1\r\n" .. i .. "\r\n")
      assert.equal("1\r\n" .. i .. "\r\n", c:read_bytes(6))
      c:send("2\r\n<" .. i .. "\r\n")
      assert.equal("<" .. i, client:read_chunk(response))
    end
    client:send("0\r\n\r\n")
    assert.equal("0\r\n\r\n", c:read_bytes(5))
    c:send("0\r\n\r\n")
    assert.is_nil(client:read_chunk(response))
    assert.is_true(response.complete)
  end)

  it("never lets two framings, or a smuggled request, through (B75)", function()
    local response = raw.request(s.port,
      "POST /plain/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n")
    assert.equal(400, response.status)
    local client <close> = send("POST /plain/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET ")
    local c <close>, request = up:answer(OK .. "Content-Length: 2\r\nConnection: close\r\n\r\nok")
    assert.same({ "4" }, request.headers["content-length"])
    assert.is_nil(request.headers["transfer-encoding"])
    assert.equal("GET ", request.body)
    assert.equal("ok", client:read_response().body)
    assert.is_not_nil(c)
  end)

  it("answers Expect: 100-continue itself, and does not pass it on (B49)", function()
    local client <close> = send("PUT /plain/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert.equal(100, client:read_head().status)
    client:send("hi")
    local c <close>, request = up:answer(OK .. "Content-Length: 2\r\nConnection: close\r\n\r\nok")
    assert.is_nil(request.headers.expect)
    assert.equal("hi", request.body)
    assert.equal("ok", client:read_response().body)
    assert.is_not_nil(c)
  end)

  it("asks for a head when the client does (B29)", function()
    local client <close> = send("HEAD /plain/x HTTP/1.1\r\nHost: a\r\n\r\n")
    local c <close>, request = up:answer(OK .. "Content-Length: 77\r\nConnection: close\r\n\r\n")
    assert.equal("HEAD /plain/x HTTP/1.1", request.line)
    assert.same({ "77" }, client:read_response(5, { head = true }).headers["content-length"])
    assert.is_not_nil(c)
  end)

  it("reaches servers on unix sockets", function()
    local request, response = through("/unix/x", nil, nil, unix)
    assert.equal("GET /x HTTP/1.1", request.line)
    assert.equal("ok", response.body)
  end)

  it("asks whom a function chooses", function()
    assert.equal("GET /chosen/x?to=url HTTP/1.1", through("/chosen/x?to=url").line)
    assert.equal("GET /chosen/x?to=unix HTTP/1.1", through("/chosen/x?to=unix", nil, nil, unix).line)
    assert.equal("GET /chosen/x?to=pool HTTP/1.1", through("/chosen/x?to=pool").line)
    assert.equal(500, raw.get(s.port, "/chosen/x?to=bad").status)
  end)

  -- --- Responses -----------------------------------------------------------------------------------

  it("passes the response on: status, repeated fields, length, body (B75)", function()
    local _, response = through("/plain/x", nil, "HTTP/1.1 203 Whatever\r\nSet-Cookie: a=1\r\nX-Hop: 1\r\n"
      .. "Connection: x-hop\r\nSet-Cookie: b=2\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: x/y\r\n"
      .. "Content-Length: 3\r\nKeep-Alive: x\r\nTrailer: T\r\n\r\nabc")
    assert.equal(203, response.status)
    assert.same({ "a=1", "b=2" }, response.headers["set-cookie"])
    assert.same({ "Mon, 01 Jan 2024 00:00:00 GMT" }, response.headers.date)
    assert.same({ "3" }, response.headers["content-length"])
    for _, name in ipairs({ "x-hop", "keep-alive", "trailer", "connection", "transfer-encoding" }) do
      assert.is_nil(response.headers[name], name)
    end
    assert.equal("abc", response.body)
  end)

  it("gives a response that interceptors change like any other (B75)", function()
    local _, response = through("/plain/x?stamp=1", nil,
      OK .. "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")
    assert.same({ "leave" }, response.headers["x-stamp"])
    assert.same({ "mine=1" }, response.headers["set-cookie"])
    assert.equal("abc", response.body)
    _, response = through("/plain/x?wrap=1", nil, OK .. "Content-Length: 3\r\nConnection: close\r\n\r\nabc")
    assert.equal(299, response.status)
    assert.equal('["abc"]', response.body)
  end)

  it("may be called by another handler", function()
    local _, response = through("/within/x")
    assert.same({ "yes" }, response.headers["x-within"])
  end)

  it("leads redirects to the server itself back to where the client found it (B75)", function()
    local function location(value, path)
      local _, response = through(path or "/api/x", nil, "HTTP/1.1 302 Found\r\nLocation: " .. value
        .. "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
      return response.headers.location[1]
    end
    local own = "http://127.0.0.1:" .. up.port
    assert.equal("/api/there?x", location(own .. "/base/there?x"))
    assert.equal("/api/", location(own .. "/base"))
    assert.equal(own .. "/basement", location(own .. "/basement"))
    assert.equal(own .. "/other", location(own .. "/other"))
    assert.equal("http://other.example/", location("http://other.example/"))
    assert.equal("/relative", location("/relative"))
    assert.equal("/there", location(own .. "/there", "/plain/x"))
  end)

  it("passes 1xx responses over (B75)", function()
    local _, response = through("/plain/x", nil,
      "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" .. OK .. "Content-Length: 2\r\nConnection: close\r\n\r\nok")
    assert.equal(200, response.status)
    assert.equal("ok", response.body)
  end)

  -- --- Failures ------------------------------------------------------------------------------------

  it("is a 502 when the server refuses, a 504 when it hangs; interceptors may handle it (B74)", function()
    assert.equal(502, raw.get(s.port, "/refused/x").status)
    assert.matches("^handled: upstream http://127.0.0.1:1: ", raw.get(s.port, "/refused/x?handle=1").body)
    local client <close> = send("GET /short/x HTTP/1.1\r\nHost: a\r\n\r\n")
    local c <close> = up:accept()
    assert.equal(504, client:read_response().status)
    assert.is_true(c:is_closed())
  end)

  it("truncates the client's body where the server's breaks off (B33)", function()
    local _, response = through("/plain/x", nil, OK .. "Content-Length: 10\r\n\r\nabc")
    assert.is_true(response.status == 502 or not response.complete)
  end)

  it("closes its connection to the server when the client goes (B73)", timed(function()
    for _, bytes in ipairs({ "", OK .. "Content-Length: 10\r\n\r\nabc" }) do
      local client = send("GET /plain/x HTTP/1.1\r\nHost: a\r\n\r\n")
      local c <close> = up:answer(bytes)
      if bytes ~= "" then client:read_head() end
      client:close()
      local left = harness.now()
      assert.is_true(c:is_closed())
      assert.is_true(harness.now() - left < (server.sanitized and 1000 or 100))
    end
  end))

  it("closes it in the middle of an upload, too (B73)", function()
    local client = send("PUT /plain/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    local c <close> = up:accept()
    c:read_until("\r\n\r\nabc")
    client:close()
    assert.is_true(c:is_closed())
  end)

  it("says what is wrong with its options", function()
    for text, why in pairs({
      ['"ftp://x"'] = "expected the URL of a server",
      ['"http://a/x?y"'] = "expected the URL of a server",
      ['42'] = "a target is a URL or a table",
      ['{ weight = 1 }'] = "a target has a url",
      ['"http://a", { strp = "/x" }'] = 'unknown option "strp"',
      ['"http://a", { timeout = -1 }'] = "timeout: expected a number of zero or more",
      ['"http://a", { forwarded = "y" }'] = "there are x, forwarded and none",
    }) do
      local encoded = text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end)
      assert.matches(why, raw.get(s.port, "/mistake?o=" .. encoded).body, 1, true, text)
    end
  end)
end)

-- Connections: what evhttp would do wrong, and what it does not do at all.
local curl = require("curl")
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local SCRIPT = [[
local tg = require("tidegate")
local gone = {}
local function hold(request, ctx)
  ctx:on_close(function(reason) gone[#gone + 1] = request.query.name .. "=" .. reason end)
  tg.wait(function() end)
end
return {
  limits = { head_timeout = 0.4, idle_timeout = 0.8, head_bytes = 2048, head_fields = 20,
    target_bytes = 1024, body_bytes = 1000000, body_buffer = 500000, body_drain = 100000,
    connections = 60, write_timeout = 0.5, response_timeout = 20, drain = 1 },
  routes = {
    { "/", any = function(request) return { body = request.method .. " " .. request.target } end },
    { "/peer", get = function(request)
      return { body = ("%s %s %s %s %s %s"):format(request.remote_addr, request.remote_port > 0,
        request.host, request.port, request.scheme, request.protocol) }
    end },
    { "/seen", get = function(request)
      return { body = (request.query.first or "-") .. " " .. (request.headers["x-one"] or "-")
        .. " " .. (request.headers.cookie or "-") .. " " .. #(request.query_list.a or {}) }
    end },
    { "/headers", get = function(request)
      local names = {}
      for name, value in pairs(request.headers) do names[#names + 1] = name .. "=" .. value end
      table.sort(names)
      return { body = table.concat(names, "\n") }
    end },
    { "/hold", any = hold },
    { "/gone", get = function() return { body = table.concat(gone, " ") .. "." } end },
    { "/all", post = function(request) return { body = #request.body:all() .. "" } end },
    { "/chunks", post = function(request)
      local n = 0
      for chunk in request.body:chunks() do n = n + #chunk end
      return { body = n .. "" }
    end },
    { "/slowly", post = function(request)
      local n = 0
      for chunk in request.body:chunks() do n = n + #chunk tg.sleep(0.0005) end
      return { body = n .. "" }
    end },
    { "/echo", post = function(request) return { body = request.body } end },
    { "/unread", post = function() return { body = "unread" } end },
    { "/refuse", post = function() return { status = 403, body = "no" } end },
    { "/never-read", post = function() tg.sleep(2) return { body = "x" } end },
    { "/pour", get = function() return { body = function(out) while true do out:write(("z"):rep(65536)) end end } end },
    { "/large", get = function() return { body = ("l"):rep(3000000) } end },
    { "/slow", get = function() return { body = function(out) for i = 1, 20 do out:write(i, "\n") tg.sleep(0.1) end end } end },
  },
}
]]

describe("a connection", function()
  local s

  setup(function()
    s = server.start({ script = SCRIPT, listen = { "127.0.0.1:0", "[::1]:0" } })
  end)
  teardown(function() s:stop() end)

  local function assert_flat(before, kib)
    local grown = s:rss() - before
    assert.is_true(server.sanitized or grown < kib, ("memory grew by %d KiB"):format(grown))
  end

  local function connect() return assert(raw.connect(s.port)) end
  local function get(path) return assert(raw.get(s.port, path)) end
  local function exchange(text, timeout, options)
    return raw.request(s.port, text, timeout, options)
  end

  describe("for its requests", function()
    it("is kept, and each sees only what is its own (B52)", function()
      local c <close> = connect()
      c:send("GET /seen?first=1&a=1&a=2 HTTP/1.1\r\nHost: a\r\nX-One: yes\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n")
      assert.equal("1 yes a=1; b=2 2", c:read_response().body)
      c:send("GET /seen HTTP/1.1\r\nHost: a\r\n\r\n")
      assert.equal("- - - 0", c:read_response().body)
    end)

    it("answers what is pipelined in order, one that waits among them (B52)", function()
      local c <close> = connect()
      c:send(("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"):rep(1)
        .. "GET /?2 HTTP/1.1\r\nHost: a\r\n\r\nPOST /chunks HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /?4 HTTP/1.1\r\nHost: a\r\n\r\n")
      assert.matches("20\n$", c:read_response().body)
      assert.equal("GET /?2", c:read_response().body)
      assert.equal("3", c:read_response().body)
      assert.equal("GET /?4", c:read_response().body)
    end)

    it("takes a head byte by byte", function()
      local c <close> = connect()
      for byte in ("GET / HTTP/1.1\r\nHost: a\r\n\r\n"):gmatch(".") do c:send(byte) end
      assert.equal("GET /", c:read_response().body)
    end)

    it("is closed after `Connection: close`, in any list, and after HTTP/1.0", function()
      for _, head in ipairs({ "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" }) do
        local c <close> = connect()
        c:send(head)
        local response = c:read_response()
        assert.equal("close", response.headers["connection"][1])
        assert.equal("GET /", response.body)
        local rest, why = c:read_all(3)
        assert.equal("", rest)
        assert.equal("closed", why)
      end
    end)

    it("takes any method, and HEAD gets no body", function()
      assert.equal("PURGE /", exchange("PURGE / HTTP/1.1\r\nHost: a\r\n\r\n").body)
      assert.equal("6", exchange("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 5, { head = true }).headers["content-length"][1])
    end)

    it("joins repeated fields, and lists each name once", function()
      local body = exchange("GET /headers HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\n\r\n").body
      assert.equal("host=a\nx-a=1, 2", body)
    end)

    it("says who is there", function()
      assert.matches("^127%.0%.0%.1 true example%.org 81 http HTTP/1%.1$",
        exchange("GET /peer HTTP/1.1\r\nHost: example.org:81\r\n\r\n").body)
      assert.equal(0, curl.run({ "-g", s.urls[2] .. "/peer" }).exit)
      assert.matches("^::1 true", curl.run({ "-g", s.urls[2] .. "/peer" }).stdout)
    end)

    it("has no delay between small chunks (TCP_NODELAY)", timed(function()
      local c <close> = connect()
      c:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
      local response = c:read_response(10)
      local first, last = response.chunks[1].at, response.chunks[20].at
      assert.is_true(last - first < 1900 + 300, "chunks wait for acknowledgements")
    end))
  end)

  describe("that is slow or idle", function()
    it("has head_timeout for a head, from its first byte, then 408 (B51)", timed(function()
      local c <close> = connect()
      c:send("GET / HTTP/1.1\r\nHo")
      local start = harness.now()
      assert.equal(408, c:read_response(5).status)
      assert.is_true(harness.now() - start < 1500)
    end))

    it("cannot stretch it by sending a byte now and then", function()
      local c <close> = connect()
      local start = harness.now()
      c:send("G")
      while harness.now() - start < 3000 and not c:send("E") == nil do harness.sleep(0.05) end
      assert.equal(408, c:read_response(5).status)
    end)

    it("is closed when nothing comes at first, or for idle_timeout later", function()
      local silent <close> = connect()
      local _, why = silent:read_all(3)
      assert.equal("closed", why)
      local c <close> = connect()
      c:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      c:read_response()
      local start = harness.now()
      _, why = c:read_all(4)
      assert.equal("closed", why)
      assert.is_true(harness.now() - start > 500)
    end)

    it("is not cut while a stream is quiet for longer than the idle timeout", function()
      local c <close> = connect()
      c:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
      assert.is_true(c:read_response(10).complete)
    end)

    it("ends when it takes nothing for write_timeout", function()
      local c <close> = assert(raw.connect(s.port, { rcvbuf = 4096 }))
      c:send("GET /pour HTTP/1.1\r\nHost: a\r\n\r\n")
      s:wait_log("GET /pour .* timeout", 5)
    end)
  end)

  describe("with a body", function()
    it("gives it to :all() and :chunks(), by length and chunked (B49)", function()
      for _, path in ipairs({ "/all", "/chunks" }) do
        assert.equal("5", exchange("POST " .. path .. " HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").body)
        assert.equal("11", exchange("POST " .. path .. " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-T: 1\r\n\r\n").body)
        assert.equal("0", exchange("POST " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n").body)
      end
    end)

    it("refuses one that is too large: declared, chunked, and for :all() (B51)", function()
      assert.equal(413, exchange("POST /all HTTP/1.1\r\nHost: a\r\nContent-Length: 1000001\r\n\r\n").status)
      local big = ("f4240\r\n" .. ("b"):rep(1000000) .. "\r\n"):rep(2)
      local c <close> = connect()
      c:send("POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" .. big)
      assert.equal(413, c:read_response().status)
      local d <close> = connect()
      d:send("POST /all HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\r\n" .. ("c"):rep(600000))
      assert.equal(413, d:read_response().status)
    end)

    it("is a 400 when its framing breaks (B51)", function()
      local response = exchange("POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX")
      assert.equal(400, response.status)
      assert.equal("close", response.headers["connection"][1])
    end)

    it("is echoed as it comes (B49)", function()
      local c <close> = connect()
      c:send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
      local head = c:read_head()
      assert.equal("abc", c:read_chunk(head))
      c:send("def")
      assert.equal("def", c:read_chunk(head))
    end)

    it("slows a client that is faster than its reader, in flat memory (B49)", function()
      local before = s:rss()
      local c <close> = connect()
      c:send("POST /slowly HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
      c:send(("s"):rep(1000000), 10)
      assert.equal("1000000", c:read_response(20).body)
      assert_flat(before, 1024)
    end)

    it("is asked for by 100 Continue when the script first reads, and not before (B49)", function()
      local c <close> = connect()
      c:send("POST /all HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
      assert.equal("HTTP/1.1 100 Continue\r\n\r\n", c:read_until("\r\n\r\n"))
      c:send("ab")
      assert.equal("2", c:read_response().body)
      local d <close> = connect()
      d:send("POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
      local response = d:read_response()
      assert.equal(403, response.status)
      assert.equal("close", response.headers["connection"][1])
    end)

    it("that nobody read is thrown away within a limit, the next request unharmed (B50)", function()
      local c <close> = connect()
      c:send("POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n" .. ("u"):rep(50000)
        .. "GET /?next HTTP/1.1\r\nHost: a\r\n\r\n")
      assert.equal("unread", c:read_response().body)
      assert.equal("GET /?next", c:read_response().body)
      local d <close> = connect()
      d:send("POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n" .. ("u"):rep(300000))
      assert.equal("unread", d:read_response().body)
      local _, why = d:read_all(5)
      assert.is_truthy(why == "closed" or why == "reset")
    end)
  end)

  describe("whose client goes away", function()
    local function await_gone(name)
      return server.eventually(function() return get("/gone").body:find(name .. "=client_closed", 1, true) end)
    end

    it("is noticed while a handler waits, with bytes unread, and in mid-upload (B13)", function()
      local cases = {
        plain = "GET /hold?name=plain HTTP/1.1\r\nHost: a\r\n\r\n",
        unread = "POST /hold?name=unread HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n" .. ("n"):rep(100000),
        partial = "POST /hold?name=partial HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
      }
      for name, text in pairs(cases) do
        local c = connect()
        c.socket:send_some(text)
        get("/")
        c:close()
        await_gone(name)
      end
    end)

    it("is noticed by a half close as well, which counts as leaving", function()
      local c <close> = connect()
      c:send("GET /hold?name=half HTTP/1.1\r\nHost: a\r\n\r\n")
      get("/")
      c:shutdown_write()
      await_gone("half")
    end)

    it("still gets the whole answer when it only stopped sending", function()
      local c <close> = connect()
      c:send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
      c:more(harness.now() + 5000) -- a half close before the answer has begun counts as leaving
      c:shutdown_write()
      local response = c:read_response(5)
      assert.is_true(response.complete)
      assert.equal(3000000, #response.body)
    end)

    it("still gets all answers when it stopped sending behind some requests that are answered at once", function()
      local c <close> = connect()
      s:kill("STOP") -- so that it finds all of it at once
      c:send(("GET /?n HTTP/1.1\r\nHost: a\r\n\r\n"):rep(3))
      c:shutdown_write()
      s:kill("CONT")
      for _ = 1, 3 do assert.equal("GET /?n", c:read_response().body) end
      assert.same({ "", "closed" }, { c:read_all(5) })
    end)

    it("leaves no descriptor behind, however it goes (B15)", function()
      get("/")
      local before = s:fds()
      for i = 1, 30 do
        local c = connect()
        c:send("GET /hold?name=n HTTP/1.1\r\nHost: a\r\n\r\n")
        if i % 3 == 0 then c:reset() else c:close() end
      end
      server.eventually(function() return s:fds() <= before end)
    end)
  end)

  describe("that floods", function()
    it("is not read past a bound while its request waits", function()
      local before = s:rss()
      local c <close> = connect()
      c:send("GET /hold?name=flood HTTP/1.1\r\nHost: a\r\n\r\n")
      local block, sent = ("f"):rep(65536), 0
      for _ = 1, 400 do
        local n = c.socket:send_some(block)
        if not n or n == 0 then break end
        sent = sent + n
      end
      get("/")
      assert_flat(before, 1024)
    end)

    it("with heads that never end is refused: 431, and 414 for a target (B51)", function()
      assert.equal(431, exchange("GET / HTTP/1.1\r\nHost: a\r\nX: " .. ("h"):rep(3000)).status)
      assert.equal(414, exchange("GET /" .. ("t"):rep(3000)).status)
      assert.equal(414, exchange("GET /" .. ("t"):rep(1100) .. " HTTP/1.1\r\nHost: a\r\n\r\n").status)
      assert.equal(431, exchange("GET / HTTP/1.1\r\nHost: a\r\n" .. ("X: y\r\n"):rep(21) .. "\r\n").status)
    end)
  end)

  it("beyond limits.connections waits until there is room, without a busy loop (B66)", timed(function()
    local clients = {}
    for i = 1, 80 do
      clients[i] = assert(raw.connect(s.port))
      clients[i]:send("GET /hold?name=many HTTP/1.1\r\nHost: a\r\n\r\n")
    end
    local ticks = s:cpu_after_rest()
    harness.sleep(0.3)
    assert.is_true(s:cpu_ticks() - ticks <= 3, "it spins")
    for _, c in ipairs(clients) do c:close() end
    server.eventually(function()
      local response = raw.get(s.port, "/", 1)
      return response and response.body == "GET /"
    end)
  end))
end)

describe("a server", function()
  it("listens on a unix socket, and takes over a stale one", function()
    local folder = server.folder()
    local path = folder .. "/s"
    local script = [[return { routes = { { "/", get = function(r) return { body = r.remote_addr } end } } }]]
    for _ = 1, 2 do
      local s = server.start({ script = script, listen = { "unix:" .. path } })
      assert.equal("unix:", curl.run({ "--unix-socket", path, "http://a/" }).stdout)
      s:kill("KILL")
      s:discard()
    end
    local s = server.start({ script = script, listen = { "unix:" .. path } })
    s:stop()
    assert.is_nil(io.open(path))
    server.remove_folder(folder)
  end)

  it("without descriptors left neither spins nor floods the log, and recovers (B66)", function()
    local script = [[return { routes = { { "/", get = function() return { body = "x" } end } } }]]
    local s <close> = server.start({ script = script, args = { "--quiet" } })
    local limited = server.command and io.popen(("prlimit --pid %d --nofile=40 2>&1"):format(s.pid))
    limited:close()
    local clients = {}
    for i = 1, 60 do clients[i] = assert(raw.connect(s.port)) end
    s:wait_log("accept: ", 5)
    local ticks = s:cpu_ticks()
    harness.sleep(0.5)
    assert.is_true(s:cpu_ticks() - ticks <= 5, "it spins")
    assert.is_true(#s:log() < 20, "it floods the log")
    for _, c in ipairs(clients) do c:close() end
    server.eventually(function()
      local response = raw.get(s.port, "/", 1)
      return response and response.status == 200
    end)
  end)
end)

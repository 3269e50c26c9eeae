-- TLS itself: certificates, versions, names, tickets, and how connections end.
local curl = require("curl")
local harness = require("harness")
local raw = require("raw")
local secure = require("secure")
local server = require("server")
local timed = require("timed")

local SCRIPT = [[
local tg = require("tidegate")
return {
  tls = { { cert = "%s", key = "%s" }, { cert = "%s", key = "%s" } },
  limits = { head_timeout = 1 },
  routes = {
    { "/", get = function(request) return { body = request.scheme .. " " .. request.protocol } end },
    { "/broken", get = function()
      return { headers = { Connection = "close" }, body = function(out) out:write("some") out:flush() error("broken") end }
    end },
    { "/slow", get = function() return { body = function(out)
      for _ = 1, 50000 do out:write(("x"):rep(1024)) end
    end } end },
    { "/text", get = function() return { body = ("0123456789"):rep(500000) } end },
    { "/file", get = function(request) return { body = tg.file(request.query.path) } end },
    { "/hold", get = function() tg.sleep(100) end },
    { "/echo", post = function(request) return { body = request.body } end },
  },
}
]]

describe("a listener with TLS", function()
  local s, dir, one, two

  local function script() return SCRIPT:format(one.cert, one.key, two.cert, two.key) end

  setup(function()
    dir = server.folder()
    one = secure.certificate(dir, "localhost")
    two = secure.certificate(dir, "other.example", { dns = "*.other.example" })
    s = server.start({ script = script() })
    curl.insecure, raw.newest_tls = true, true
  end)
  teardown(function()
    curl.insecure, raw.newest_tls = false, false
    s:stop()
    server.remove_folder(dir)
  end)

  local function connect(options) return assert(raw.connect(s.port, options)) end
  local function get(path) return "GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n" end

  -- What openssl's own client says.
  local function s_client(...)
    local process <close> = assert(harness.spawn({ "openssl", "s_client", "-connect", "127.0.0.1:" .. s.port, ... },
      { stdout = "pipe", stderr = "pipe", stdin = "null" }))
    process:wait(10)
    return process:output("stdout") .. process:output("stderr")
  end

  it("says so in its URL, and to scripts (B80)", function()
    assert.matches("^https://127", s.url)
    assert.equal("https HTTP/1.1", curl.run({ s.url .. "/" }).stdout)
  end)

  it("shows the certificate of the name that is asked for, else the first", function()
    for name, subject in pairs({ ["localhost"] = "localhost", ["a.other.example"] = "other", ["nobody.example"] = "localhost" }) do
      local c <close> = connect({ server_name = name })
      assert.matches("CN=" .. subject, (c.socket:peer()))
    end
    local c <close> = connect()
    assert.matches("CN=localhost", (c.socket:peer()))
  end)

  it("is trusted by who trusts its certificate, and by nobody else", function()
    local url = ("https://localhost:%d/"):format(s.port)
    local process <close> = assert(harness.spawn({ "curl", "-s", "--cacert", one.cert, "--resolve",
      ("localhost:%d:127.0.0.1"):format(s.port), url }, { stdout = "pipe" }))
    assert.equal(0, process:wait(10))
    assert.equal("https HTTP/1.1", process:output("stdout"))
    local other <close> = assert(harness.spawn({ "curl", "-s", url, "--resolve", ("localhost:%d:127.0.0.1"):format(s.port) }, {}))
    assert.equal(60, other:wait(10))
  end)

  it("speaks TLS 1.2 and 1.3, and nothing older", function()
    assert.matches("Protocol *: *TLSv1.2", s_client("-tls1_2"))
    assert.matches("TLSv1.3", s_client("-tls1_3"))
    for _, old in ipairs({ "-tls1_1", "-tls1" }) do
      assert.not_matches("Cipher is [^(]", s_client(old, "-cipher", "DEFAULT:@SECLEVEL=0"))
    end
  end)

  it("refuses to renegotiate", function()
    assert.matches("Secure Renegotiation IS supported", s_client("-tls1_2"))
    local process <close> = assert(harness.spawn({ "sh", "-c",
      "(echo R; sleep 1) | openssl s_client -tls1_2 -connect 127.0.0.1:" .. s.port }, { stdout = "pipe", stderr = "pipe" }))
    process:wait(10)
    assert.matches("renegotiation", process:output("stderr"))
  end)

  it("chooses HTTP/1.1 of what a client speaks, and refuses who speaks none of it", function()
    assert.matches("ALPN protocol: http/1.1", s_client("-alpn", "h2,http/1.1"))
    assert.matches("no application protocol", s_client("-alpn", "h2"))
  end)

  it("resumes sessions by ticket, after a reload as well", function()
    local function session(way, path)
      return s_client("-tls1_2", way, path)
    end
    assert.matches("New, TLSv1.2", session("-sess_out", dir .. "/session"))
    assert.matches("Reused, TLSv1.2", session("-sess_in", dir .. "/session"))
    s:kill("HUP")
    s:wait_log("reload: .*generation", 1)
    assert.matches("Reused, TLSv1.2", session("-sess_in", dir .. "/session"))
  end)

  it("says goodbye at the end of a connection, and not where one is broken off (B33)", function()
    for path, truncated in pairs({ ["/"] = false, ["/broken"] = true }) do
      local c <close> = connect()
      c:send("GET " .. path .. " HTTP/1.0\r\nHost: a\r\n\r\n")
      local deadline = harness.now() + 5000
      while c:more(deadline) do end
      assert.is_true(#c.buffer > 0)
      local _, why = c:more(harness.now() + 1000)
      assert.is_true(c.socket:truncated() == truncated or (truncated and why == "reset"), path)
    end
  end)

  it("tells who speaks plain HTTP", function()
    local socket <close> = assert(harness.connect(s.port))
    local c = raw.wrap(socket)
    c:send(get("/"))
    assert.equal(400, c:read_response().status)
  end)

  it("closes on garbage, and on a handshake that is not finished in time (B66)", function()
    local garbage = raw.wrap(assert(harness.connect(s.port)))
    garbage:send(("\22\3\1\0\5hello"):rep(10))
    assert.is_false(select(2, garbage:read_until("nothing ever", 5)) == "timeout")
    local silent = raw.wrap(assert(harness.connect(s.port)))
    silent:send("\22\3\1")
    assert.is_false(select(2, silent:read_until("nothing ever", 5)) == "timeout")
    garbage:close()
    silent:close()
  end)

  it("notices within 100 ms that a client has left (B13)", timed(function()
    local c = connect()
    c:send(get("/hold"))
    s:wait_log("", 1)
    local began = harness.now()
    c:close()
    s:wait_log("GET /hold 0 0 .*client_closed", 1)
    assert.is_true(server.sanitized or harness.now() - began < 500, harness.now() - began)
  end))

  it("holds a fast body back for a slow client, in flat memory (B20)", function()
    local c <close> = connect({ rcvbuf = 4096 })
    local before = s:rss()
    c:send(get("/slow"))
    c:read_until("\r\n\r\n")
    s:cpu_after_rest()
    assert.is_true(server.sanitized or s:rss() - before < 2048, s:rss() - before)
    c:more(harness.now() + 1000)
  end)

  it("sends a large string whole to a slow client, without a copy of it (B19)", function()
    local c <close> = connect({ rcvbuf = 65536 })
    c:send(get("/text"))
    local response = c:read_response(30)
    assert.equal(5000000, #response.body)
    assert.is_true(response.body == ("0123456789"):rep(500000))
  end)

  it("sends files and ranges of them, byte for byte (B22)", function()
    local text = {}
    for i = 1, 100000 do text[i] = ("%07d\n"):format(i) end
    server.write(dir .. "/numbers", table.concat(text))
    local all = curl.run({ s.url .. "/file?path=" .. dir .. "/numbers" })
    assert.is_true(all.stdout == table.concat(text))
    assert.equal("0000002\n", curl.run({ "-r", "8-15", s.url .. "/file?path=" .. dir .. "/numbers" }).stdout)
  end)

  it("echoes an upload of any size, however its records are cut (B49)", function()
    local c <close> = connect()
    for _, size in ipairs({ 1, 16383, 16384, 16385, 65536, 300000 }) do
      local body = ("abcdefg"):rep(size // 7 + 1):sub(1, size)
      c:send(("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"):format(size, body))
      assert.is_true(c:read_response(10).body == body, size)
    end
  end)

  it("answers pipelined requests in order (B52)", function()
    local c <close> = connect()
    c:send(get("/"):rep(20))
    for _ = 1, 20 do assert.equal("https HTTP/1.1", c:read_response().body) end
  end)

  it("tells upstreams that the client came by https (B75)", function()
    local listening <close> = assert(harness.listen(0))
    local own <close> = server.start({ script = ([[
      local tg = require("tidegate")
      return { tls = { cert = %q, key = %q }, routes = { { "/*path", any = tg.proxy("http://127.0.0.1:%d") } } }
    ]]):format(one.cert, one.key, listening:port()) })
    local c <close> = assert(raw.connect(own.port))
    c:send(get("/x"))
    local upstream <close> = raw.wrap(assert(listening:accept()))
    local head = upstream:read_until("\r\n\r\n")
    assert.matches("\r\n[Xx]%-[Ff]orwarded%-[Pp]roto: https\r\n", head)
    upstream:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert.equal("ok", c:read_response().body)
  end)

  it("gives everything back, at whatever stage a client leaves (B15)", function()
    local function round(n)
      for i = 1, n do
        local socket = assert(harness.connect(s.port))
        if i % 4 == 0 then
          socket:send("\22\3\1")
        elseif i % 4 > 1 then
          socket:tls()
          if i % 4 == 3 then socket:send(get("/slow")) socket:recv() end
        end
        if i % 2 == 0 then socket:close() else socket:reset() end
      end
      curl.run({ s.url .. "/" })
    end
    round(100)
    local fds, memory = s:fds(), s:rss()
    round(400)
    server.eventually(function() return s:fds() <= fds end)
    assert.is_true(server.sanitized or s:rss() - memory < 1024, s:rss() - memory)
  end)

  it("takes a new certificate with a reload; who is connected stays (B56)", function()
    local folder = server.folder()
    local pair = secure.certificate(folder, "localhost")
    local own <close> = server.start({ script = ([[return { tls = { cert = %q, key = %q }, routes = {
      { "/", get = function() return { body = "x" } end } } }]]):format(pair.cert, pair.key) })
    local old <close> = assert(raw.connect(own.port))
    os.remove(pair.cert)
    own:kill("HUP")
    own:wait_log("reload: the last good script serves on: .*cannot read the certificate", 1)
    assert.equal("x", raw.get(own.port, "/").body)
    local fresh = secure.certificate(folder, "fresh.example")
    os.rename(fresh.cert, pair.cert)
    own:kill("HUP")
    own:wait_log("is not the key of the certificate", 1)
    os.rename(fresh.key, pair.key)
    own:kill("HUP")
    own:wait_log("generation 2", 1)
    old:send(get("/"))
    assert.equal("x", old:read_response().body)
    assert.matches("localhost", (old.socket:peer()))
    local new <close> = assert(raw.connect(own.port))
    assert.matches("fresh.example", (new.socket:peer()))
    server.remove_folder(folder)
  end)
end)

describe("certificates", function()
  local dir
  setup(function() dir = server.folder() end)
  teardown(function() server.remove_folder(dir) end)

  local function check(tls)
    local path = dir .. "/app.lua"
    server.write(path, ("return { tls = %s, routes = {} }"):format(tls))
    return server.command({ "check", path })
  end

  it("that cannot be used are named, with the reason", function()
    local a, b = secure.certificate(dir, "a"), secure.certificate(dir, "b")
    local locked = secure.certificate(dir, "locked", { password = "secret" })
    server.write(dir .. "/junk", "junk")
    for tls, why in pairs({
      [("{ cert = %q, key = %q }"):format(dir .. "/none", a.key)] = "/none: cannot read the certificate: No such file",
      [("{ cert = %q, key = %q }"):format(a.cert, dir .. "/junk")] = "/junk: cannot read the key",
      [("{ cert = %q, key = %q }"):format(a.cert, b.key)] = "b.key: is not the key of the certificate",
      [("{ cert = %q, key = %q }"):format(locked.cert, locked.key)] = "locked.key: the key is locked by a password",
      [("{ { cert = %q, key = %q }, { cert = %q } }"):format(a.cert, a.key, b.cert)] = "tls%[2%].key: expected a file's path",
    }) do
      local result = check(tls)
      assert.equal(1, result.exit)
      assert.matches(why, result.stderr .. result.stdout)
    end
    assert.equal(0, check(("{ cert = %q, key = %q }"):format(a.cert, a.key)).exit)
  end)

  it("may be given on the command line, in pairs, and addresses may say with or without TLS", function()
    local a = secure.certificate(dir, "a")
    local s <close> = server.start({ script = [[return { routes = { { "/", get = function(request) return { body = request.scheme } end } } }]],
      args = { "--tls-cert", a.cert, "--tls-key", a.key },
      listen = { "127.0.0.1:0", "http://127.0.0.1:0" } })
    assert.matches("^https", s.urls[1])
    assert.matches("^http:", s.urls[2])
    assert.equal("https", raw.get(tonumber(s.urls[1]:match("%d+$")), "/").body)
    assert.equal("http", raw.get(tonumber(s.urls[2]:match("%d+$")), "/").body)
    local path = dir .. "/plain.lua"
    server.write(path, "return { routes = {} }")
    assert.matches("a certificate needs its key", server.command({ "run", path, "--tls-cert", a.cert }).stderr)
    assert.matches("no tls", server.command({ "run", path, "--listen", "https://127.0.0.1:0" }).stderr)
  end)
end)

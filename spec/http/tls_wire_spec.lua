-- TLS as clients may speak it: ends of one side, new keys, records in pieces, connections that are cut.
local curl = require("curl")
local harness = require("harness")
local raw = require("raw")
local secure = require("secure")
local server = require("server")

local SCRIPT = [[
local tg = require("tidegate")
local ends = {}
local function record(name, what) ends[name] = (ends[name] or "") .. what end
return {
  tls = { cert = %q, key = %q },
  limits = { head_timeout = %d },
  routes = {
    { "/", get = function(request) return { body = request.query.n or "x" } end },
    { "/ends", get = function(request) return { body = ends[request.query.name] or "" } end },
    { "/endless", get = function(request, ctx)
      ctx:on_close(function(reason) record(request.query.name, reason) end)
      return { body = function(out) while true do out:write("more") out:flush() tg.sleep(0.01) end end }
    end },
    { "/text", get = function() return { body = ("0123456789"):rep(20000) } end },
    { "/stream", get = function() return { body = function(out)
      for i = 1, 4000 do out:write(("%%07d\n"):format(i):rep(128)) end
    end } end },
    { "/upload", post = function(request, ctx)
      ctx:on_close(function(reason) record(request.query.name, reason) end)
      local text = request.body:all()
      record(request.query.name, "whole " .. #text .. " ")
      return { body = tostring(#text) }
    end },
    { "/echo", post = function(request) return { body = request.body } end },
  },
}
]]

describe("a client with TLS", function()
  local s, dir, pair

  setup(function()
    dir = server.folder()
    pair = secure.certificate(dir, "localhost")
    s = server.start({ script = SCRIPT:format(pair.cert, pair.key, 20), args = { "--quiet" } })
    curl.insecure = true
  end)
  teardown(function()
    curl.insecure, raw.newest_tls = false, false
    s:stop()
    server.remove_folder(dir)
  end)

  local function connect(newest, options)
    raw.newest_tls = newest
    local c = assert(raw.connect(s.port, options))
    raw.newest_tls = false
    return c
  end
  local function get(target) return "GET " .. target .. " HTTP/1.1\r\nHost: a\r\n\r\n" end
  local function ended(name) return raw.get(s.port, "/ends?name=" .. name).body end
  local function await_end(name)
    return server.eventually(function()
      local how = ended(name)
      return how ~= "" and how
    end)
  end

  for version, newest in pairs({ ["1.2"] = false, ["1.3"] = true }) do
    describe("(" .. version .. ")", function()
      it("that says it sends no more has left, as one that half closes its socket (B13)", function()
        local c <close> = connect(newest)
        c:send(get("/endless?name=goodbye" .. version))
        c:read_until("more")
        c.socket:say_goodbye()
        assert.equal("client_closed", await_end("goodbye" .. version))
      end)

      it("that says so when its whole response is on its way still gets it, and a goodbye", function()
        local c <close> = connect(newest, { rcvbuf = 4096 })
        c:send(get("/text"))
        c:more(harness.now() + 5000)
        c.socket:say_goodbye()
        local response = c:read_response(20)
        assert.is_true(response.complete)
        assert.equal(200000, #response.body)
        assert.same({ "", "closed" }, { c:read_all(5) })
        assert.is_false(c.socket:truncated())
      end)

      it("that says so behind some requests gets all answers", function()
        local c <close> = connect(newest)
        s:kill("STOP") -- so that it finds all of it at once
        c:send(get("/?n=one") .. get("/?n=two") .. get("/?n=three") .. "GET / HT")
        c.socket:say_goodbye()
        s:kill("CONT")
        assert.equal("one", c:read_response().body)
        assert.equal("two", c:read_response().body)
        assert.equal("three", c:read_response().body)
        assert.same({ "", "closed" }, { c:read_all(5) })
        assert.is_false(c.socket:truncated())
      end)

      it("that is cut in the middle of an upload has sent none, goodbye or not (B50)", function()
        local chunked = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        for framing, text in pairs({ length = "Content-Length: 100\r\n\r\nhello", chunks = chunked }) do
          for _, goodbye in ipairs({ true, false }) do
            local name = ("cut-%s-%s-%s"):format(framing, goodbye, version)
            local c = connect(newest)
            c:send(("POST /upload?name=%s HTTP/1.1\r\nHost: a\r\n%s"):format(name, text))
            if goodbye then c.socket:say_goodbye() end
            c:close()
            assert.equal("client_closed", await_end(name))
          end
        end
      end)

      -- Between curl and the server: what curl sends goes on byte by byte.
      local function relay(argv)
        local listening <close> = assert(harness.listen(0))
        local url = argv[#argv]
        argv[#argv] = ("https://127.0.0.1:%d%s"):format(listening:port(), url)
        local process <close> = assert(harness.spawn({ "curl", "-sk", "--tlsv" .. version, "--tls-max", version,
          "--max-time", "60", table.unpack(argv) }, { stdout = "pipe", stderr = "pipe" }))
        local here <close> = assert(listening:accept(10))
        local there <close> = assert(harness.connect(s.port))
        while true do
          for _, from in ipairs(harness.poll({ here, there }, 60)) do
            local data = from:recv(65536)
            if not data then return process:output("stdout") end
            if from == there then
              here:send(data, 10)
            else
              for i = 1, #data do
                assert(there:send(data:sub(i, i)))
                if i % 8 == 0 then harness.sleep(0.0001) end -- a pace, that few are read together
              end
            end
          end
        end
      end

      it("whose records come byte by byte is served the same", function()
        assert.equal("bytes", relay({ "/?n=bytes" }))
        local text = ("0123456789abcdef\n"):rep(100)
        server.write(dir .. "/upload", text)
        assert.is_true(text == relay({ "-H", "Expect:", "--data-binary", "@" .. dir .. "/upload", "/echo" }))
      end)
    end)
  end

  it("that asks for new keys in the middle of an upload gets them, and each byte back", function()
    local c <close> = connect(true)
    local text = {}
    for i = 1, 60 do text[i] = ("%08d\n"):format(i):rep(700) end
    local body = table.concat(text)
    c:send(("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"):format(#body))
    for i = 1, 60 do
      assert(c:send(text[i]:sub(1, 99)))
      assert(c.socket:update_keys())
      assert(c:send(text[i]:sub(100)))
    end
    assert.is_true(c:read_response(10).body == body)
    assert.is_true(c.socket:key_updates() > 0)
    c:send(get("/"))
    assert.equal("x", c:read_response().body)
  end)

  it("that asks for new keys in the middle of a download gets them, and each byte", function()
    local c <close> = connect(true, { rcvbuf = 65536 })
    c:send(get("/stream"))
    local response = c:read_head()
    local parts, updates = {}, 0
    while true do
      local piece = c:read_chunk(response, 10)
      if not piece then break end
      parts[#parts + 1] = piece
      if #parts % 4 == 1 then
        assert(c.socket:update_keys())
        updates = updates + 1
      end
    end
    assert.is_true(response.complete)
    local whole = {}
    for i = 1, 4000 do whole[i] = ("%07d\n"):format(i):rep(128) end
    assert.is_true(table.concat(parts) == table.concat(whole))
    assert.is_true(updates > 3 and c.socket:key_updates() > 0)
  end)

  it("that changes its keys without an end, and reads nothing, costs no memory", function()
    local c <close> = connect(true, { rcvbuf = 4096 })
    c:send(get("/endless?name=keys"))
    c:read_until("more")
    local before = s:rss()
    for _ = 1, 20000 do
      local asked, why = c.socket:update_keys()
      if not asked and why ~= "again" then break end
    end
    raw.get(s.port, "/")
    assert.is_true(server.sanitized or s:rss() - before < 1024, s:rss() - before)
  end)

  it("that asks for another handshake (TLS 1.2) is refused, and closed: it could ask without an end", function()
    local c <close> = connect(false)
    c:send(get("/endless?name=again"))
    c:read_until("more")
    assert(c.socket:renegotiate())
    local _, why = c:read_all(10)
    assert.is_true(why == "closed" or why == "reset", why)
    assert.equal("client_closed", await_end("again"))
  end)
end)

describe("a client that does not read its handshake", function()
  it("is let go of in time, and costs little until then (B66)", function()
    local dir = server.folder()
    local pair = secure.certificate(dir, "localhost")
    local chain = server.read(pair.cert) -- some 50 KiB of it, so that sockets are full of it
    server.write(pair.cert, chain:rep(100))
    local s <close> = server.start({ script = SCRIPT:format(pair.cert, pair.key, 1), args = { "--quiet" } })
    local hello
    do -- what a client begins with
      local listening <close> = assert(harness.listen(0))
      local process <close> = assert(harness.spawn({ "curl", "-sk", ("https://127.0.0.1:%d/"):format(listening:port()) }, {}))
      local there <close> = assert(listening:accept(10))
      hello = assert(there:recv(65536))
      process:kill("KILL")
    end
    raw.get(s.port, "/")
    local fds, before = s:fds(), s:rss()
    local clients = {}
    for i = 1, 50 do
      clients[i] = assert(harness.connect(s.port, { rcvbuf = 1024 }))
      assert(clients[i]:send(hello))
    end
    assert.equal("x", raw.get(s.port, "/").body)
    assert.is_true(server.sanitized or s:rss() - before < 50 * 200, s:rss() - before)
    server.eventually(function() return s:fds() <= fds end)
    for _, c in ipairs(clients) do c:close() end
    server.remove_folder(dir)
  end)
end)

-- A server with TLS whose response is delimited by its end, which is said or not.
local UPSTREAM = [[
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
while True:
    plain, _ = listening.accept()
    connection = context.wrap_socket(plain, server_side=True)
    request = connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall there is")
    if b"/said" in request:
        try:
            connection.unwrap()
        except OSError:
            pass
    connection.close()
]]

describe("an upstream with TLS", function()
  it("whose connection ends without a goodbye has broken off, where that is the body's end (B74)", function()
    local dir = server.folder()
    local pair = secure.certificate(dir, "localhost")
    server.write(dir .. "/upstream.py", UPSTREAM)
    local upstream <close> = assert(harness.spawn({ "python3", dir .. "/upstream.py", pair.cert, pair.key },
      { stdout = "pipe", stderr = "null" }))
    local port = assert(upstream:read_line("stdout", 20))
    local s <close> = server.start({ args = { "--quiet" }, script = ([[
      local tg = require("tidegate")
      return { routes = { { "/:how", get = function(request)
        local response = tg.fetch("https://127.0.0.1:%s/" .. request.path_params.how, { insecure = true })
        local ok, text = pcall(response.body.all, response.body)
        return { body = tostring(ok) .. " " .. (ok and text or "") }
      end } } }]]):format(port) })
    assert.equal("true all there is", raw.get(s.port, "/said", 20).body)
    assert.equal("false ", raw.get(s.port, "/unsaid", 20).body)
    server.remove_folder(dir)
  end)
end)

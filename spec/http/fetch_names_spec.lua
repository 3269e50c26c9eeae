-- What happens before there is a connection: names that take their time, and TLS.
local harness = require("harness")
local lfs = require("lfs")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local BUILD = os.getenv("TIDEGATE_BUILD") or "build"

local SCRIPT = [[
local tg = require("tidegate")
return {
  workers = 1,
  routes = {
    { "/ok", get = function() return { body = "ok" } end },
    { "/fetch", get = function(request)
      local options = { connect_timeout = tonumber(request.query.timeout), ca = request.query.ca,
        insecure = request.query.insecure and true or nil }
      local response, why, failure = tg.fetch(request.query.url, options)
      if not response then return { status = failure.status, body = failure.kind .. ": " .. why } end
      return response
    end },
  },
}
]]

local function percent(text)
  return (text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
end

describe("a name that takes its time", function()
  local s

  setup(function()
    local path = (BUILD:sub(1, 1) == "/" and "" or lfs.currentdir() .. "/") .. BUILD .. "/probe_resolver.so"
    if server.sanitized then -- the sanitizer comes first
      local library = server.threads_sanitized and "libtsan.so" or "libasan.so"
      local pipe <close> = assert(io.popen("cc -print-file-name=" .. library))
      path = pipe:read("l") .. ":" .. path
    end
    s = server.start({ script = SCRIPT, args = { "--quiet" }, env = { LD_PRELOAD = path } })
  end)
  teardown(function()
    local start = harness.now()
    s:stop()
    assert.is_true(harness.now() - start < (server.sanitized and 10000 or 2000), "the stop waited for a name")
  end)

  local function ask(name, timeout)
    local client = assert(raw.connect(s.port))
    client:send(("GET /fetch?timeout=%g&url=%s HTTP/1.1\r\nHost: a\r\n\r\n"):format(timeout, percent("http://" .. name .. "/")))
    return client
  end

  it("holds up nobody else, and not its own timeout (B74)", timed(function()
    local client <close> = ask("a.slow.test", 0.5)
    local start = harness.now()
    while harness.now() - start < 400 do
      local asked = harness.now()
      assert.equal("ok", raw.get(s.port, "/ok").body)
      assert.is_true(harness.now() - asked < 300)
    end
    local response = client:read_response()
    assert.equal(504, response.status)
    assert.matches("^timeout: ", response.body)
    assert.is_true(harness.now() - start < 2000)
  end))

  it("is a 502 when it is none in the end (B74)", function()
    local response = ask("b.slow.test", 20):read_response(10)
    assert.equal(502, response.status)
    assert.matches("^resolve: ", response.body)
  end)

  it("may be left in the middle (B73)", timed(function()
    local client = ask("c.slow.test", 20)
    assert.is_true(client:is_silent(0.1))
    client:close()
    local start = harness.now()
    assert.equal("ok", raw.get(s.port, "/ok").body)
    assert.is_true(harness.now() - start < 1000)
  end))
end)

describe("a server with TLS", function()
  local s, dir, openssl, port

  local function run(...)
    local process <close> = assert(harness.spawn({ "openssl", ... }, { cwd = dir, stdout = "null", stderr = "pipe" }))
    assert.equal(0, (process:wait(20)), process:output("stderr"))
  end

  setup(function()
    dir = server.folder()
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", "key.pem", "-out", "cert.pem",
      "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    server.write(dir .. "/page", "over tls\n")
    openssl = assert(harness.spawn({
      "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", "cert.pem", "-key", "key.pem", "-WWW",
    }, { cwd = dir, stdout = "pipe", stderr = "null" }))
    repeat
      local line = assert(openssl:read_line("stdout", 10))
      port = line:match("^ACCEPT .*:(%d+)$")
    until port
    s = server.start({ script = SCRIPT, args = { "--quiet" } })
  end)
  teardown(function()
    s:stop()
    openssl:close()
    server.remove_folder(dir)
  end)

  local function fetch(host, rest)
    return raw.get(s.port, ("/fetch?url=%s%s"):format(percent(("https://%s:%s/page"):format(host, port)), rest or ""), 10)
  end

  it("is asked when its certificate is one to trust (B74)", function()
    local response = fetch("localhost", "&ca=" .. percent(dir .. "/cert.pem"))
    assert.equal(200, response.status)
    assert.equal("over tls\n", response.body)
  end)

  it("is a 502 when it is not, or is another's (B74)", function()
    local response = fetch("localhost")
    assert.equal(502, response.status)
    assert.matches("^tls: ", response.body)
    response = fetch("127.0.0.1", "&ca=" .. percent(dir .. "/cert.pem"))
    assert.equal(502, response.status)
    assert.matches("^tls: ", response.body)
    assert.equal(502, fetch("localhost", "&ca=" .. percent(dir .. "/none.pem")).status)
  end)

  it("streams what is large, byte for byte, and is held back by a slow client (B72)", function()
    local parts = {}
    for i = 1, 400000 do parts[i] = ("%08d line of a large body over TLS\n"):format(i) end
    local text = table.concat(parts)
    server.write(dir .. "/large", text)
    local client <close> = assert(raw.connect(s.port, { rcvbuf = 65536 }))
    client:send(("GET /fetch?insecure=1&url=%s HTTP/1.0\r\nHost: a\r\n\r\n")
      :format(percent(("https://127.0.0.1:%s/large"):format(port))))
    client:read_until("\r\n\r\n", 10)
    harness.sleep(0.2) -- all that is held is full by now
    assert.is_true(s:rss() < (server.sanitized and 400000 or 40000))
    assert.is_true(client:read_all(20) == text)
  end)

  it("is asked all the same when any certificate will do", function()
    assert.equal("over tls\n", fetch("127.0.0.1", "&insecure=1").body)
    assert.equal(502, fetch("127.0.0.1").status) -- and no longer than that
  end)
end)

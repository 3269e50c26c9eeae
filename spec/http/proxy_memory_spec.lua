-- A GiB through the gateway, to a client that is slower than the server and from a server that is
-- slower than the client: memory stays as it was.
local raw = require("raw")
local server = require("server")
local upstream = require("upstream")

local MIB = 1048576
local TOTAL = (server.sanitized and 64 or 1024) * MIB
local BLOCK = ("0123456789abcdef"):rep(MIB // 16)

local SCRIPT = [[
local tg = require("tidegate")
local URL = "http://127.0.0.1:%d"
return {
  workers = 1,
  limits = { body_bytes = 0 },
  routes = {
    { "/proxy", any = tg.proxy(URL) },
    { "/read", get = function()
      local response = assert(tg.fetch(URL))
      return { body = function(out) for chunk in response.body:chunks() do out:write(chunk) end end }
    end },
  },
}
]]

describe("a large body through the gateway", function()
  local s, up

  setup(function()
    up = upstream.listen()
    s = server.start({ script = SCRIPT:format(up.port), args = { "--quiet" } })
  end)
  teardown(function()
    s:stop()
    up:close()
  end)

  local function ask(path)
    local client = assert(raw.connect(s.port, { rcvbuf = 65536 }))
    client:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
    local c = up:accept()
    c:read_request()
    return client, c
  end

  -- The peak of memory over what it was before, in KiB.
  local function growth(work)
    local before = s:rss()
    work()
    return math.max(s:hwm(), s:rss()) - before
  end

  -- How many bytes have come: what raw.lua has of a body it keeps, and here that would be a GiB.
  local function drain(client)
    local got = #client.buffer
    client.buffer = ""
    return got + #assert(client.socket:recv(262144, 20))
  end

  -- The server fills whatever there is to fill before the client reads a little more.
  local function slow_client(path, total)
    local client, c = ask(path)
    c:send(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"):format(total))
    if path == "/proxy" then assert.equal(total, assert(client:read_head()).left) end
    local sent, got, most = 0, 0, 0
    while got < total do
      while sent < total do
        local n = c.client.socket:send_some(BLOCK, sent % MIB + 1)
        if not n then break end
        sent = sent + n
      end
      most = math.max(most, sent - got)
      got = got + drain(client)
    end
    client:close()
    c.client:close()
    return most
  end

  local function slow_server(path, total)
    local client, c = ask(path)
    c:send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    local chunk = ("%x\r\n"):format(MIB // 4) .. BLOCK:sub(1, MIB // 4) .. "\r\n"
    local sent, got = 0, 0
    while sent < total do
      c:send(chunk, 20)
      sent = sent + MIB // 4
      while got < sent do got = got + drain(client) end
    end
    client:close()
    c.client:close()
  end

  for _, path in ipairs({ "/proxy", "/read" }) do
    it(path .. " is held back for a slow client, and takes no memory (B72)", function()
      slow_client(path, 8 * MIB)
      local most
      local grown = growth(function() most = slow_client(path, TOTAL) end)
      assert.is_true(most < 24 * MIB, "the server was not held back: " .. most)
      assert.is_true(server.sanitized or grown < 2048, grown .. " KiB")
    end)

    it(path .. " takes no memory where the server is slow (B72)", function()
      slow_server(path, 8 * MIB)
      local grown = growth(function() slow_server(path, TOTAL // 8) end)
      assert.is_true(server.sanitized or grown < 2048, grown .. " KiB")
    end)
  end

  it("goes up without memory, too, and is held back by a slow server (B72)", function()
    local total, sent, got, most = TOTAL // 4, 0, 0, 0
    local client = assert(raw.connect(s.port, { sndbuf = 65536 }))
    client:send(("PUT /proxy HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"):format(total))
    local c = up:accept()
    c:read_until("\r\n\r\n")
    local grown = growth(function()
      while got < total do
        while sent < total do
          local n = client.socket:send_some(BLOCK, sent % MIB + 1)
          if not n then break end
          sent = sent + n
        end
        most = math.max(most, sent - got)
        got = got + drain(c.client)
      end
    end)
    c:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert.equal("ok", client:read_response().body)
    assert.is_true(most < 24 * MIB, "the client was not held back: " .. most)
    assert.is_true(server.sanitized or grown < 2048, grown .. " KiB")
    client:close()
    c.client:close()
  end)
end)

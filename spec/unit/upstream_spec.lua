-- Requests to other servers in parts: heads, URLs, codings; and whole ones while memory fails.
local harness = require("harness")
local probe = require("probe_upstream")
local upstream = require("upstream")

local function head(fields, line) return (line or "HTTP/1.1 200 OK") .. "\r\n" .. (fields or "") .. "\r\n" end

describe("a response's head", function()
  local function fields(text) return assert(probe.head(head(text))).fields end

  it("keeps fields as they came, without the blanks around their values", function()
    assert.same({ "X-A1", "x-a2 3", "B" }, fields("X-A:1\r\nx-a: \t2 3\t \r\nB:\r\n"))
  end)

  it("knows which are the connection's own (B75)", function()
    assert.same({ "Connectionx-a, close hop", "X-A1 hop", "X-B2", "Upgradex hop", "Content-Length3 hop" },
      fields("Connection: x-a, close\r\nX-A: 1\r\nX-B: 2\r\nUpgrade: x\r\nContent-Length: 3\r\n"))
  end)

  it("says whether the connection goes on", function()
    assert.is_false(probe.head(head()).close)
    assert.is_true(probe.head(head("Connection: Close\r\n")).close)
    assert.is_true(probe.head(head("Connection: x\r\nConnection: y, close\r\n")).close)
    assert.is_true(probe.head(head("", "HTTP/1.0 200 OK")).close)
  end)

  it("passes over 1xx, and forgets what they said (B75)", function()
    local got = probe.head(head("Content-Length: 9\r\nX: 1\r\n", "HTTP/1.1 103 Early Hints") .. head("Y: 2\r\n"))
    assert.same({ "Y2" }, got.fields)
    assert.is_nil(got.length)
  end)

  it("takes lines that end in a lone LF, as RFC 9112 lets it", function()
    assert.same({ "X1" }, probe.head("HTTP/1.1 200 OK\nX: 1\n\n").fields)
  end)

  it("needs no reason, and no space where there is none", function()
    assert.equal(200, probe.head("HTTP/1.1 200\r\n\r\n").status)
    assert.equal(200, probe.head("HTTP/1.1 200 \r\n\r\n").status)
    assert.equal(999, probe.head("HTTP/1.1 999 x\r\n\r\n").status)
  end)

  it("refuses what two readers could take for two things (B74)", function()
    for _, case in ipairs({
      { head("", "HTTP/2 200 OK"), "no status line" }, { head("", "http/1.1 200 OK"), "no status line" },
      { head("", "HTTP/1.1  200 OK"), "no status line" }, { head("", "HTTP/1.1 2x0 OK"), "no status line" },
      { head("", "HTTP/1.1 2000 OK"), "no status line" }, { head("", ""), "no status line" },
      { head("", "HTTP/1.1 101 x"), "switches protocols" }, { head("", "HTTP/1.1 099 x"), "below 100" },
      { head("Content-Length: 1\r\nContent-Length: 1\r\n"), "more than one" },
      { head("Content-Length: 1, 1\r\n"), "no number" }, { head("Content-Length:\r\n"), "no number" },
      { head("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), "both" },
      { head("Transfer-Encoding: identity\r\n"), "not just chunked" },
      { head("Transfer-Encoding: chunked, chunked\r\n"), "not just chunked" },
      { head("X : 1\r\n"), "proper name" }, { head(" X: 1\r\n"), "proper name" }, { head("X\r\n"), "proper name" },
      { head("X: a\rb\r\n"), "control character" }, { head("X: a\0b\r\n"), "control character" },
      { head("X: a\127b\r\n"), "control character" },
      { head("", "HTTP/1.1 100 x"):rep(17) .. head(), "too many 1xx" },
    }) do
      local got, why = probe.head(case[1])
      assert.is_nil(got, case[1])
      assert.matches(case[2], why, 1, true, case[1])
    end
  end)

  it("has a cap on its bytes, those of 1xx included, and on its fields", function()
    assert.is_not_nil(probe.head(head("X: 1\r\n"), 27))
    assert.same({ nil, "limit" }, { probe.head(head("X: 1\r\n"), 24) })
    assert.same({ nil, "limit" }, { probe.head(head("", "HTTP/1.1 100 x") .. head(), 30) })
    assert.equal(200, #probe.head(head(("X: 1\r\n"):rep(200))).fields)
    assert.same({ nil, "limit" }, { probe.head(head(("X: 1\r\n"):rep(201))) })
  end)
end)

describe("a URL", function()
  it("is taken apart", function()
    assert.same({ "http://a.b:80", "a.b:80", "/c?d" }, { probe.url("http://a.b:80/c?d#e") })
    assert.same({ "HTTPS://[::1]", "[::1]", "" }, { probe.url("HTTPS://[::1]") })
    assert.same({ "http://a", "a", "?b" }, { probe.url("http://a?b") })
  end)

  it("is refused when it is none, or has a user in it", function()
    for _, text in ipairs({ "", "a", "/a", "ftp://a", "http://", "http:///a", "http://u@a", "http://u:p@a/",
      "http://a b/", "http://a/\r\n", "http://a/\127", "http://\u{e4}/", "http://a\\@b/" }) do
      assert.same({}, { probe.url(text) }, text)
    end
  end)

  it("is found from another (RFC 3986, 5)", function()
    for location, url in pairs({
      ["/x"] = "http://a:1/x", ["x"] = "http://a:1/b/x", ["../x"] = "http://a:1/x", ["?x"] = "http://a:1/b/c?x",
      ["//d/x"] = "http://d/x", ["https://d/x"] = "https://d/x",
    }) do
      assert.equal(url, probe.resolve("http://a:1/b/c?q", location), location)
    end
  end)
end)

describe("a coding", function()
  local function coded(command)
    local pipe <close> = assert(io.popen(command))
    return pipe:read("a")
  end
  local text = ("a text that is worth coding, and another. "):rep(2000)
  local gzip, plain

  setup(function()
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    gzip = coded("gzip -9c " .. path)
    plain = coded(("lua5.4 -e 'io.write((io.open(%q):read(\"a\")))'"):format(path))
    os.remove(path)
  end)

  it("is undone, however it is cut", function()
    assert.equal(text, plain)
    for _, piece in ipairs({ 1, 2, 7, 100, 16384 }) do
      assert.same({ text, true }, { probe.decode(gzip, piece) }, piece)
    end
  end)

  it("may be several one after the other, as gzip's are", function()
    assert.same({ text .. text, true }, { probe.decode(gzip .. gzip, 1000) })
  end)

  it("may be deflate with and without zlib's frame", function()
    local name_end = gzip:byte(4) & 8 ~= 0 and gzip:find("\0", 11, true) or 10
    local raw = gzip:sub(name_end + 1, -9) -- behind gzip's header, before its trailer
    assert.same({ text, true }, { probe.decode(raw, 16384) })
  end)

  it("that is cut, broken, or larger than allowed is no whole one (B74)", function()
    local got, whole = probe.decode(gzip:sub(1, -20), 1000)
    assert.is_true(got ~= text or not whole)
    assert.is_false(select(2, probe.decode(gzip:sub(1, -2), 1000)))
    assert.is_nil((probe.decode("this is no gzip at all", 1000)))
    assert.is_nil((probe.decode(gzip, 1000, #text - 1)))
    assert.equal(text, (probe.decode(gzip, 1000, #text)))
    assert.same({ "", true }, { probe.decode("", 1) })
  end)
end)

describe("a request to another server", function()
  local up

  before_each(function() up = upstream.listen() end)
  after_each(function() up:close() end)

  local OK = "HTTP/1.1 200 OK\r\n"
  local ZIPPED = "\31\139\8\0\0\0\0\0\0\3\75\76\74\6\0\194\65\36\53\3\0\0\0" -- "abc"

  local SCENARIOS = {
    { "of a length", {}, { OK .. "Content-Length: 3\r\n\r\nabc" } },
    { "in chunks", {}, { OK .. "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n" } },
    { "until the end", {}, { OK .. "X: " .. ("y"):rep(2000) .. "\r\n\r\nabc" } },
    { "coded", { decode = 100 }, { OK .. "Content-Encoding: gzip\r\nContent-Length: " .. #ZIPPED .. "\r\n\r\n" .. ZIPPED } },
    { "after a redirect", { redirects = 2 },
      { "HTTP/1.1 302 x\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", OK .. "Content-Length: 3\r\n\r\nabc" } },
    { "to a body", { method = "POST", body = ("b"):rep(50000) }, { OK .. "Content-Length: 3\r\n\r\nabc" } },
    { "to a body in chunks", { method = "PUT", body = ("b"):rep(50000), chunked = true },
      { OK .. "Content-Length: 3\r\n\r\nabc" } },
  }

  -- Plays both sides until it is over: what was read, or nil and the kind of failure.
  local function play(scenario, client)
    local options = { url = "http://127.0.0.1:" .. up.port .. "/" }
    for name, value in pairs(scenario[2]) do options[name] = value end
    local fetch <close>, why = client:start(options)
    if not fetch then return nil, why end
    local text, connection, answered = "", nil, 0
    local deadline = harness.now() + 10000
    while harness.now() < deadline do
      client:turn(0.002)
      if not connection and #harness.poll({ up.socket }, 0) > 0 then
        connection = up:accept()
      elseif connection and #harness.poll({ connection.client.socket }, 0) > 0 then
        local got = connection.client.socket:recv(1048576, 0)
        connection.client.buffer = connection.client.buffer .. (got or "")
      end
      if connection and answered < #scenario[3] and connection.client.buffer:find("\r\n\r\n", 1, true) then
        local buffer = connection.client.buffer
        local length = tonumber(buffer:match("Content%-Length: (%d+)"))
        local _, from = buffer:find("\r\n\r\n", 1, true)
        if (not length or #buffer - from >= length) and (not buffer:find("chunked") or buffer:find("\r\n0\r\n\r\n$")) then
          answered = answered + 1
          connection:send(scenario[3][answered])
          connection:shutdown_write()
          if answered < #scenario[3] then
            connection:close()
            connection = nil
          end
        end
      end
      local state, data = fetch:read()
      if state == "data" then text = text .. data end
      if state == "end" or state == "failed" then
        if connection then connection:close() end
        return state == "end" and text or nil, data
      end
    end
    error("it does not end")
  end

  for _, scenario in ipairs(SCENARIOS) do
    it("gets a response " .. scenario[1] .. ", whichever allocation fails (B69)", function()
      local client <close> = probe.client()
      assert.equal("abc", (play(scenario, client)))
      collectgarbage()
      local before = probe.blocks()
      local failed, streak = 0, 0
      for n = 1, 1000 do
        probe.fail_at(n)
        local text, why = play(scenario, client)
        probe.fail_at(0)
        -- Connections that were made and not taken, of attempts that came to nothing.
        while #harness.poll({ up.socket }, 0) > 0 do up:accept():close() end
        client:turn(0.001)
        collectgarbage()
        assert.equal(before, probe.blocks(), n)
        streak = text and streak + 1 or 0
        if text then
          assert.equal("abc", text)
        else
          failed = failed + 1
          assert.is_true(why ~= nil)
        end
        if streak == 12 then break end -- there is no nth allocation any more
      end
      assert.equal(12, streak)
      assert.is_true(failed > 5, failed)
    end)
  end
end)

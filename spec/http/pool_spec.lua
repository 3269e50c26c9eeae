-- tg.pool: several servers that do the same, some of which fail.
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")
local upstream = require("upstream")

local function script(ports, checked)
  return ([[
local tg = require("tidegate")
local A, B, C = "http://127.0.0.1:%d", "http://127.0.0.1:%d", "http://127.0.0.1:1"
local pools = {
  both = tg.pool { targets = { A, B }, max_fails = 0 },
  weighted = tg.pool { targets = { { url = A, weight = 3 }, B }, max_fails = 0 },
  least = tg.pool { targets = { A, B }, balance = "least_connections", max_fails = 0 },
  hash = tg.pool { targets = { A, B }, balance = "hash", max_fails = 0,
    hash = function(request) return request.query.key end },
  dead = tg.pool { targets = { C, "http://127.0.0.1:2" }, max_fails = 1, fail_timeout = 60 },
  half = tg.pool { targets = { C, A }, max_fails = 0 },
  single = tg.pool { targets = { A }, max_fails = 2, fail_timeout = 0.3, retries = 0 },
  checked = %s,
  busy = tg.pool { targets = { A, B }, fail_status = { 503 }, max_fails = 0 },
}
local function handler(request, ctx)
  return tg.proxy(pools[request.path_params.pool], { timeout = 0.5 })(request, ctx)
end
return {
  workers = 1,
  routes = {
    { "/status/:pool", get = function(request) return { body = pools[request.path_params.pool]:status() } end },
    { "/fetch/:pool", get = function(request)
      local response, why, failure, target = pools[request.path_params.pool]:fetch("/own", { method = "PUT", body = "abc" })
      return { body = response and target.name or failure.kind .. ": " .. why }
    end },
    { "/assert/:pool", get = function(request) return assert(pools[request.path_params.pool]:fetch("/own")) end },
    { "/:pool/x", any = handler },
    { "/mistake", get = function(request)
      local _, why = pcall(function() return tg.pool(load("return " .. request.query.o)()) end)
      return { body = tostring(why) }
    end },
  },
}
]]):format(ports[1], ports[2], checked or "nil")
end

local CHECKED = [[tg.pool { targets = { A, B }, max_fails = 0, health = {
  path = "/health?full", interval = 0.05, timeout = 0.3, unhealthy = 2, healthy = 2, headers = { ["X-Check"] = "1" } } }]]
local PICKY = [[tg.pool { targets = { A }, max_fails = 0, health = { interval = 0.05, unhealthy = 1, status = { 204 } } }]]

local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

describe("tg.pool", function()
  local s, a, b

  before_each(function()
    a, b = upstream.listen(), upstream.listen()
    s = server.start({ script = script({ a.port, b.port }), args = { "--quiet" } })
  end)
  after_each(function()
    s:stop()
    a:close()
    b:close()
  end)

  local function ask(path, method, body)
    local client = assert(raw.connect(s.port))
    client:send(("%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n%s"):format(method or "GET", path,
      body and "Content-Length: " .. #body .. "\r\n" or "", body or ""))
    return client
  end

  -- Which of the two is asked by this request: the first to have a connection.
  local function who()
    local ready = harness.poll({ a.socket, b.socket }, 5)
    return ready[1] == a.socket and a or ready[1] == b.socket and b or nil
  end

  local function asked(path)
    local client <close> = ask(path)
    local up = assert(who(), "nobody was asked")
    local c <close> = up:answer(OK)
    assert.equal("ok", client:read_response().body)
    return up == a and "a" or "b", c
  end

  local function state(pool, n)
    local text = raw.get(s.port, "/status/" .. pool).body
    local states = {}
    for word in text:gmatch('"state":"(%a+)"') do states[#states + 1] = word end
    return states[n or 1], text
  end

  it("asks each in its turn (B76)", function()
    local first = asked("/both/x")
    local names = { first }
    for i = 2, 4 do names[i] = asked("/both/x") end
    assert.equal("a b a b", table.concat(names, " "))
  end)

  it("asks by weight (B76)", function()
    local n = { a = 0, b = 0 }
    for _ = 1, 8 do
      local name = asked("/weighted/x")
      n[name] = n[name] + 1
    end
    assert.same({ a = 6, b = 2 }, n)
  end)

  it("asks who has the fewest requests under way (B76)", function()
    local client <close> = ask("/least/x")
    local c <close> = a:accept()
    c:read_request()
    assert.matches('"load":1.-"load":0', select(2, state("least")))
    for _ = 1, 3 do assert.equal("b", (asked("/least/x"))) end
    c:send(OK)
    assert.equal("ok", client:read_response().body)
    server.eventually(function() return select(2, state("least")):find('"load":0.-"load":0') end)
  end)

  it("counts what a client that left had under way no longer (B15)", function()
    local client = ask("/least/x")
    local c <close> = a:accept()
    c:read_request()
    client:close()
    server.eventually(function() return select(2, state("least")):find('"load":0.-"load":0') end)
  end)

  it("asks the same one for the same key (B76)", function()
    -- Their ports, so what falls to whom, differ from run to run: of 32 keys each has some, but once in 2^31.
    local first = {}
    for i = 1, 32 do first[i] = asked("/hash/x?key=k" .. i) end
    for i = 1, 32 do assert.equal(first[i], (asked("/hash/x?key=k" .. i))) end
    local text = table.concat(first)
    assert.is_true(text:find("a") ~= nil and text:find("b") ~= nil)
  end)

  it("may be asserted to have answered: 503 where nobody may be asked (B74)", function()
    assert.equal(502, raw.get(s.port, "/assert/dead").status)
    assert.equal(503, raw.get(s.port, "/assert/dead").status)
  end)

  it("asks another when one refuses, whatever the method: nothing was sent (B76)", function()
    for _, method in ipairs({ "GET", "POST" }) do
      for _ = 1, 2 do -- each of the two is the first once
        local client <close> = ask("/half/x", method, method == "POST" and "body" or nil)
        local c <close>, request = a:answer(OK)
        assert.equal(method .. " /half/x HTTP/1.1", request.line)
        assert.equal(method == "POST" and "body" or nil, request.body)
        assert.equal("ok", client:read_response().body)
        assert.is_not_nil(c)
      end
    end
  end)

  it("asks another when one fails after it was asked, if asking twice does no harm (B76)", function()
    local client <close> = ask("/both/x", "GET")
    a:accept():close()
    local c <close> = b:answer(OK)
    assert.equal("ok", client:read_response().body)
    assert.is_not_nil(c)
  end)

  it("does not ask twice what may do harm, or cannot be said again (B76)", function()
    local client <close> = ask("/both/x", "POST", "body")
    local c = a:accept()
    c:read_request()
    c:close()
    assert.equal(502, client:read_response().status)
    local other <close> = ask("/both/x", "PUT", "body")
    c = b:accept()
    c:read_request()
    c:close()
    assert.equal(502, other:read_response().status)
  end)

  it("says a body that it has whole again (B76)", function()
    local client <close> = ask("/fetch/both")
    local c = a:accept()
    c:read_request()
    c:close()
    local d <close>, request = b:answer(OK)
    assert.equal("PUT /own HTTP/1.1", request.line)
    assert.equal("abc", request.body)
    assert.equal("http://127.0.0.1:" .. b.port, client:read_response().body)
    assert.is_not_nil(d)
  end)

  it("does not ask again once something of an answer went to the client (B76)", function()
    local client <close> = ask("/both/x")
    local c = a:accept()
    c:read_request()
    c:send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    local response = client:read_head()
    assert.equal("abc", client:read_chunk(response))
    c:close()
    assert.is_nil(client:read_chunk(response))
    assert.is_false(response.complete)
    assert.same({}, harness.poll({ a.socket, b.socket }, 0.1))
  end)

  it("asks another for an answer of a status that counts as a failure (B76)", function()
    local client <close> = ask("/busy/x")
    local c <close> = a:answer("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy")
    local d <close> = b:answer(OK)
    assert.equal("ok", client:read_response().body)
    local last <close> = ask("/busy/x")
    local BUSY = "HTTP/1.1 503 Busy\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
    local e <close> = who():answer(BUSY:format(4, "busy"))
    local f <close> = who():answer(BUSY:format(5, "busy2"))
    assert.equal("busy2", last:read_response().body)
    assert.is_not_nil(c and d and e and f)
  end)

  it("leaves one that fails alone for a while, and takes it back by a trial (B76)", timed(function()
    local function fail()
      local client <close> = ask("/single/x")
      a:accept():close()
      assert.equal(502, client:read_response().status)
    end
    fail()
    assert.equal("up", (state("single")))
    fail()
    assert.equal("open", (state("single")))
    s:wait_log("left alone for 0.3 s", 5)
    local start = harness.now()
    assert.equal(503, raw.get(s.port, "/single/x").status)
    assert.is_true(harness.now() - start < 250, "it was waited for")
    server.eventually(function() return state("single") == "trial" end)

    local trial <close> = ask("/single/x")
    local c <close> = a:accept()
    c:read_request()
    assert.equal(503, raw.get(s.port, "/single/x").status) -- one at a time
    c:close()
    assert.equal(502, trial:read_response().status)
    assert.equal("open", (state("single")))

    server.eventually(function() return state("single") == "trial" end)
    assert.equal("a", (asked("/single/x")))
    assert.equal("up", (state("single")))
  end))

  it("is a 503 when there is nobody to ask (B74)", function()
    assert.equal(502, raw.get(s.port, "/dead/x").status)
    assert.equal("open", (state("dead", 1)))
    assert.equal("open", (state("dead", 2)))
    assert.equal(503, raw.get(s.port, "/dead/x").status)
    assert.matches("^unavailable: no server", raw.get(s.port, "/fetch/dead").body)
  end)

  -- Answers health checks with these bytes until found() is true; other requests with OK.
  local function serve(up, bytes, found)
    local deadline = harness.now() + 10000
    while not found() do
      assert(harness.now() < deadline, "still not so")
      if harness.poll({ up.socket }, 0.02)[1] then
        local c <close> = up:accept()
        local came, request = pcall(c.read_request, c) -- a check that was given up may still be queued
        if came then c:send(request.headers["x-check"] and bytes or OK) end
      end
    end
  end

  local DOWN = "HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

  local function restart(checked)
    s:stop()
    s = server.start({ script = script({ a.port, b.port }, checked), args = { "--quiet" } })
  end

  it("asks each server how it is, leaves out who is unwell, and takes it back (B76)", function()
    restart(CHECKED)
    for _, up in ipairs({ a, b }) do
      local c <close> = up:accept()
      assert.equal("GET /health?full HTTP/1.1", c:read_request().line)
      c:send(OK)
    end
    serve(b, DOWN, function() return state("checked", 2) == "down" end)
    s:wait_log("unhealthy: status 500", 5)
    serve(b, OK, function() return state("checked", 2) == "up" end)
    s:wait_log("healthy again", 5)
  end)

  it("asks nobody who is unwell, and judges by the statuses it was told (B76)", function()
    restart(PICKY)
    local c <close> = a:answer(OK)
    server.eventually(function() return state("checked") == "down" end)
    assert.equal(503, raw.get(s.port, "/checked/x").status)
    assert.is_not_nil(c)
  end)

  it("ends its checks with the server, at once (B61)", timed(function()
    restart(PICKY)
    local c <close> = a:accept()
    c:read_request()
    local start = harness.now()
    assert.equal(0, s:stop())
    assert.is_true(harness.now() - start < (server.sanitized and 5000 or 2000))
  end))

  it("says what is wrong with its options", function()
    for text, why in pairs({
      ['42'] = "expected a table",
      ['{}'] = "expected a list of at least one",
      ['{ targets = { "x" } }'] = "expected the URL of a server",
      ['{ targets = { { url = "http://a", weight = 0 } } }'] = "weight: expected a number of more than zero",
      ['{ targets = { "http://a" }, balance = "random" }'] = "there are round_robin",
      ['{ targets = { "http://a" }, max_fail = 1 }'] = 'unknown option "max_fail"',
      ['{ targets = { "http://a" }, retries = 0.5 }'] = "retries: expected an integer",
      ['{ targets = { "http://a" }, health = { intervall = 1 } }'] = 'health: unknown option "intervall"',
    }) do
      local encoded = text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end)
      assert.matches(why, raw.get(s.port, "/mistake?o=" .. encoded).body, 1, true, text)
    end
  end)
end)

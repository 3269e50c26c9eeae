--- tg.test.upstream, as the specs of a service use it: see spec/http/test_spec.lua.
local tg = require("tidegate")

--- A service that passes requests on to up.
local function proxy(up, options)
  options = options or {}
  options.to = up.url
  return { routes = { { "/", any = tg.proxy(up.url) }, { "/*rest", any = tg.proxy(up.url) } } }
end

local function get(up, target, options)
  return tg.test.response_for(proxy(up), "GET", target or "/", options)
end

describe("tg.test.upstream", function()
  it("answers as it is told, and keeps what it was asked", function()
    local up <close> = tg.test.upstream({ status = 201, headers = { ["X-A"] = { 1, 2 } }, body = "hello" })
    local response = tg.test.response_for(proxy(up), "POST", "/a?b=c", { body = "the body",
      headers = { ["X-Asked"] = "yes" } })
    assert.equal(201, response.status)
    assert.same({ "1", "2" }, response.headers["x-a"])
    assert.equal("hello", response.body)
    assert.equal(1, #up.requests)
    local asked = up.requests[1]
    assert.equal("POST", asked.method)
    assert.equal("/a?b=c", asked.target)
    assert.equal("yes", asked.headers["x-asked"])
    assert.equal("the body", asked.body)
  end)

  it("answers each request as a function says, over one connection", function()
    local up <close> = tg.test.upstream(function(request)
      return { body = request.target, chunked = true }
    end)
    assert.equal("/one", get(up, "/one").body)
    assert.equal("/two", get(up, "/two").body)
    assert.equal(1, up.connections)
    local response = tg.test.response_for(proxy(up), "POST", "/", { body = { "in ", "chunks" } })
    assert.equal("/", response.body)
    assert.equal("in chunks", up.requests[3].body)
  end)

  it("is slow on demand, by the test's clock", function()
    local clock <close> = tg.test.clock()
    local up <close> = tg.test.upstream({ body = { "a", "b" }, delay = 5, pace = 10 })
    local stream <close> = tg.test.stream_for(proxy(up), "GET", "/")
    clock:advance(5)
    assert.equal("a", (stream:read()))
    clock:advance(10)
    local chunk, at = stream:read()
    assert.equal("b", chunk)
    assert.near(15, at, 0.01)
  end)

  it("fails before it has answered: that is a 502 (B74)", function()
    for _, where in ipairs({ "accept", "request", "head" }) do
      for _, how in ipairs({ "close", "reset" }) do
        local up <close> = tg.test.upstream({ [how] = where })
        assert.equal(502, get(up).status, how .. " at " .. where)
        assert.equal(where == "accept" and 0 or 1, #up.requests > 0 and 1 or 0)
      end
    end
  end)

  it("hangs: that is a 504 after the timeout (B74)", function()
    for _, where in ipairs({ "accept", "request", "head" }) do
      local clock <close> = tg.test.clock()
      local up <close> = tg.test.upstream({ hang = where })
      local task = tg.spawn(get, up)
      clock:advance(1)
      assert.not_equal("done", task:status())
      clock:advance(60)
      assert.equal(504, task:join().status, where)
    end
  end)

  it("breaks off in its body: so does the client's response (B74)", function()
    for _, how in ipairs({ "close", "reset" }) do
      for _, chunked in ipairs({ true, false }) do
        local up <close> = tg.test.upstream({ body = { "0123456789", "abc" }, [how] = 12, pace = 0.01,
          chunked = chunked })
        local response = get(up)
        assert.equal(200, response.status)
        assert.is_true(response.broken)
        assert.matches("^0123456789", response.body)
      end
    end
  end)

  it("sees that the other side has gone (B73)", function()
    local up <close> = tg.test.upstream({ body = "0123456789", hang = 5 })
    local response = get(up, "/", { leaves_after = 5 })
    assert.equal("client_closed", response.ending)
    assert.equal("01234", response.body)
    for _ = 1, 1000 do
      if up.requests[1].left then break end
      tg.sleep(0.005)
    end
    assert.is_true(up.requests[1].left)
  end)

  it("says anything, byte for byte", function()
    local up <close> = tg.test.upstream({ raw = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab" })
    assert.equal(502, get(up).status)
  end)

  it("refuses connections once it is closed", function()
    local up = tg.test.upstream()
    assert.equal(200, get(up).status)
    up:close()
    assert.equal(502, get(up).status)
  end)

  it("refuses a plan that it does not know", function()
    local function message(plan) return select(2, pcall(function() return (tg.test.upstream(plan)) end)) end
    assert.matches("upstream_trial.lua.*unknown field stauts", message({ stauts = 1 }))
    assert.matches("hang: expected", message({ hang = "somewhere" }))
    assert.matches("pace: expected a number", message({ pace = "slow" }))
    assert.matches("expected a table or a function, got number", message(1))
  end)
end)

-- traceparent and tracestate: from a client's request to the requests that are made for it.
local raw = require("raw")
local server = require("server")
local upstream = require("upstream")

local ID = "0af7651916cd43dd8448eb211c80319c"
local PARENT = "00-" .. ID .. "-b7ad6b7169203331-01"

describe("The trace that a request comes with", function()
  local s, up
  setup(function()
    up = upstream.listen()
    s = server.start({ script = ([[
      local tg = require("tidegate")
      local URL = "http://127.0.0.1:%d/"
      return { routes = {
        { "/id", get = function(request) return { body = tostring(request.trace_id) } end },
        { "/proxy", get = tg.proxy(URL) },
        { "/proxy/cut", get = tg.proxy(URL, {
          request_headers = { traceparent = false, tracestate = false },
        }) },
        { "/fetch", get = function() return assert(tg.fetch(URL)) end },
        { "/fetch/options", get = function() return assert(tg.fetch(URL, { timeout = 5 })) end },
        { "/fetch/untraced", get = function() return assert(tg.fetch(URL, { trace = false })) end },
        { "/fetch/own", get = function()
          return assert(tg.fetch(URL, { headers = { Traceparent = "mine" } }))
        end },
        { "/fetch/spawned", get = function()
          return assert(tg.spawn(function() return tg.fetch(URL) end):join())
        end },
        { "/fetch/background", get = function()
          tg.background(function() tg.fetch(URL) end)
          return { body = "" }
        end },
        { "/fetch/bad", get = function() return assert(tg.fetch(URL, { trace = "no" })) end },
        { "/set", get = function(request)
          request.headers.traceparent = "set"
          return assert(tg.fetch(URL, { request = request }))
        end },
      } }
    ]]):format(up.port) })
  end)
  teardown(function()
    s:stop()
    up:close()
  end)

  local function send(target, ...)
    local client = assert(raw.connect(s.port))
    local fields = ""
    for _, field in ipairs({ ... }) do fields = fields .. field .. "\r\n" end
    client:send(("GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n"):format(target, fields))
    return client
  end

  -- What the server behind it gets of both fields.
  local function passed(target, ...)
    local client <close> = send(target, ...)
    local c <close>, request =
      up:answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    assert.equal(200, client:read_response().status)
    assert.is_truthy(c)
    return request.headers.traceparent, request.headers.tracestate
  end

  local function id_of(...)
    local client <close> = send("/id", ...)
    return client:read_response().body
  end

  it("is passed on as it is, with its state", function()
    for _, target in ipairs({ "/proxy", "/fetch", "/fetch/options", "/fetch/spawned" }) do
      local parent, state = passed(target, "TraceParent: " .. PARENT, "tracestate: a=1,b=2",
        "Tracestate: c=3")
      assert.same({ { PARENT }, { "a=1,b=2", "c=3" } }, { parent, state }, target)
      assert.same({}, { passed(target) }, target)
    end
  end)

  it("is dropped with its state when it is no valid one", function()
    for _, parent in ipairs({
      "traceparent:", "traceparent: x", "traceparent: " .. PARENT:upper(),
      "traceparent: " .. PARENT .. "-00", "traceparent: " .. PARENT .. "\r\ntraceparent: " .. PARENT,
    }) do
      for _, target in ipairs({ "/proxy", "/fetch" }) do
        assert.same({}, { passed(target, parent, "tracestate: a=1") }, parent)
      end
    end
    assert.same({}, { passed("/proxy", "tracestate: a=1") })
  end)

  it("is the script's to take away, or to set", function()
    assert.same({}, { passed("/proxy/cut", "traceparent: " .. PARENT, "tracestate: a=1") })
    assert.same({}, { passed("/fetch/untraced", "traceparent: " .. PARENT) })
    local parent, state = passed("/fetch/own", "traceparent: " .. PARENT, "tracestate: a=1")
    assert.same({ { "mine" } }, { parent, state })
    assert.same({ { "set" } }, { (passed("/set", "traceparent: " .. PARENT)) })
    local client <close> = send("/fetch/bad")
    assert.equal(500, client:read_response().status)
    s:wait_log("fetch: trace: expected true or false, got a string")
  end)

  it("is not that of tasks which outlive the request", function()
    local client <close> = send("/fetch/background", "traceparent: " .. PARENT)
    assert.equal(200, client:read_response().status)
    local c <close>, request = up:answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert.is_truthy(c)
    assert.is_nil(request.headers.traceparent)
  end)

  it("has an id, where it is valid", function()
    assert.equal(ID, id_of("traceparent: " .. PARENT))
    assert.equal(ID, id_of("traceparent: cc-" .. ID .. "-b7ad6b7169203331-01"))
    assert.equal(ID, id_of("traceparent: cc-" .. ID .. "-b7ad6b7169203331-01-what-follows"))
    local zeros = ("0"):rep(32)
    for _, parent in ipairs({
      "", "00", PARENT .. "-", PARENT .. "x", PARENT:sub(1, -2), PARENT:gsub("^00", "ff"),
      PARENT:gsub("^00", "0g"), PARENT:gsub("-", "_", 1), (PARENT:gsub("01$", "0x")),
      "00-" .. zeros .. "-b7ad6b7169203331-01", "00-" .. ID .. "-0000000000000000-01",
      "cc-" .. ID .. "-b7ad6b7169203331-01x", "00-" .. ID .. "-b7ad6b7169203331.01",
      "00-" .. ID .. ".b7ad6b7169203331-01",
    }) do
      assert.equal("nil", id_of("traceparent: " .. parent), parent)
    end
    assert.equal("nil", id_of())
  end)
end)

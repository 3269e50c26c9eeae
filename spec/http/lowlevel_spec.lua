-- ctx:write_response and its kin: a response sent by hand, while the chain goes on.
local harness = require("harness")
local raw = require("raw")
local server = require("server")

local SCRIPT = [[
local tg = require("tidegate")
local function head(extra)
  local response = { status = 201, headers = { ["Content-Type"] = "text/plain", ["X-A"] = "1" } }
  for key, value in pairs(extra or {}) do response[key] = value end
  return response
end
local cookie = { name = "cookie", leave = function(ctx)
  if ctx.response then
    ctx.response.headers = { ["Set-Cookie"] = "late=1" }
  else
    ctx.left = true
  end
end }
return { routes = {
  { "/head", get = function(_, ctx) ctx:write_response(head()) tg.sleep(0.3) ctx:write_response_body("later") end },
  { "/parts", get = { cookie, function(_, ctx)
    ctx:write_response(head({ body = "a" }))
    ctx:write_response_body("b")
    ctx:write_response_body({ c = 1 })
    ctx:write_response_body(tg.generate(function(yield) yield(1) tg.sleep(0.01) yield(2) end))
    ctx:write_response_body(function(out) out:write("d") tg.sleep(0.01) out:write("e") end)
    ctx:write_response_body(tg.file("Makefile"))
    ctx:write_response_body("end")
  end } },
  { "/sent", get = function(_, ctx)
    local before = ctx:response_sent()
    ctx:write_response_body("x")
    ctx:write_response_body(tostring(before) .. tostring(ctx:response_sent()))
  end },
  { "/both", name = "both", get = { cookie, function(_, ctx)
    ctx:write_response(head({ body = "first" }))
    return { status = 404, body = "second" }
  end } },
  { "/twice", get = function(_, ctx)
    ctx:write_response(head({ body = "first" }))
    local ok, why = pcall(ctx.write_response, ctx, head())
    ctx:write_response_body(tostring(ok) .. why)
  end },
  { "/raise", get = function(_, ctx) ctx:write_response(head({ body = "first" })) error("after", 0) end },
  { "/enter", get = { { name = "early", enter = function(ctx) ctx:write_response(head({ body = "early" })) end },
    function() end } },
  { "/after", get = function() return { body = "kept" } end },
} }
]]

describe("a response written by hand", function()
  local s

  setup(function() s = server.start({ script = SCRIPT }) end)
  teardown(function() s:stop() end)

  local function get(path)
    local c <close> = assert(raw.connect(s.port))
    c:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\nGET /after HTTP/1.1\r\nHost: a\r\n\r\n")
    local response = assert(c:read_response())
    if response.complete then assert.equal("kept", c:read_response().body) end
    return response
  end

  it("has its head on the wire at once (B36)", function()
    local c <close> = assert(raw.connect(s.port))
    local start = harness.now()
    c:send("GET /head HTTP/1.1\r\nHost: a\r\n\r\n")
    local head = c:read_head()
    assert.is_true(harness.now() - start < 200)
    assert.equal(201, head.status)
    assert.equal("later", c:read_chunk(head))
  end)

  it("is the parts in their order, of any type (B37)", function()
    local file <close> = io.open("Makefile")
    local response = get("/parts")
    assert.is_true(response.body == 'ab{"c":1}\n1\n2\nde' .. file:read("a") .. "end")
    assert.equal("1", response.headers["x-a"][1])
    assert.is_nil(response.headers["set-cookie"])
  end)

  it("is sent once something is, an implicit 200 (B38)", function()
    local response = get("/sent")
    assert.equal(200, response.status)
    assert.equal("xfalsetrue", response.body)
  end)

  it("stands against a ctx.response that comes after, which is logged once (B39)", function()
    local response = get("/both")
    assert.equal(201, response.status)
    assert.equal("first", response.body)
    assert.is_nil(response.headers["set-cookie"])
    assert.matches("both.*201.*404", (s:wait_log("response already sent", 2)))
  end)

  it("cannot be begun a second time (B40)", function()
    assert.matches("^firstfalse.*sent before", get("/twice").body)
  end)

  it("is cut by a raise that follows (B40)", function()
    local response = get("/raise")
    assert.equal("first", response.body)
    assert.is_false(response.complete)
  end)

  it("may end the exchange, without a ctx.response (B41)", function()
    assert.equal("early", get("/enter").body)
  end)
end)

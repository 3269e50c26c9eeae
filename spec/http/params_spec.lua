-- tg.body_params: JSON and forms, and what is refused.
local cjson = require("cjson")
local curl = require("curl")
local raw = require("raw")
local server = require("server")

local SCRIPT = [[
local tg = require("tidegate")
local function show(request)
  return { body = { params = request.body_params or "none", json = request.json_params ~= nil,
    list = request.form_params_list or "none" } }
end
local catch = tg.on_error({ handle = function(_, err) return { status = err.status, body = err.message } end })
return {
  limits = { body_buffer = 10000 },
  interceptors = { catch },
  routes = {
    { "/", interceptors = { tg.body_params({ max_params = 5 }) }, any = show },
    { "/pass", interceptors = { tg.body_params({ pass = true }) },
      any = function(request) return { body = request.body_params == nil and request.body or "read" } end },
  },
}
]]

describe("tg.body_params", function()
  local s

  setup(function() s = server.start({ script = SCRIPT }) end)
  teardown(function() s:stop() end)

  local function post(type, body, path, more)
    return raw.request(s.port, ("POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n%s\r\n%s"):format(
      path or "/", type and "Content-Type: " .. type .. "\r\n" or "", #body, more or "", body))
  end

  local function params(type, body) return cjson.decode(post(type, body).body) end

  it("reads JSON, by any of its types", function()
    assert.same({ a = { 1, 2 } }, params("application/json", '{"a":[1,2]}').params)
    assert.same({ a = 1 }, params("application/merge-patch+json; charset=UTF-8", '{"a":1}').params)
    assert.is_true(params("Application/JSON", "[0]").json)
  end)

  it("reads forms: the first value of each name, and all of them", function()
    local read = params("application/x-www-form-urlencoded", "a=1+2&b=%C3%A9&a=3&c")
    assert.same({ a = "1 2", b = "é", c = "" }, read.params)
    assert.same({ "1 2", "3" }, read.list.a)
    local result = curl.run({ "--data-urlencode", "t=x y&z", s.url .. "/" })
    assert.equal("x y&z", cjson.decode(result.stdout).params.t)
  end)

  it("lets a request without a body pass", function()
    assert.equal("none", cjson.decode(raw.get(s.port, "/").body).params)
    assert.equal("none", cjson.decode(post(nil, "").body).params)
  end)

  it("reads what comes in chunks", function()
    local response = raw.request(s.port, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
      .. "Transfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n2\r\n,2\r\n1\r\n]\r\n0\r\n\r\n")
    assert.same({ 1, 2 }, cjson.decode(response.body).params)
  end)

  for what, case in pairs({
    ["what is no JSON with 400"] = { 400, "application/json", "{", "is no JSON" },
    ["JSON that ends too late with 400"] = { 400, "application/json", "1 2", "is no JSON" },
    ["too many parameters with 400"] = { 400, "application/x-www-form-urlencoded", "a=1&a&a&a&a&a", "more than 5" },
    ["another type with 415"] = { 415, "text/plain", "x", "got text/plain" },
    ["no type with 415"] = { 415, nil, "x", "got no type" },
    ["another charset with 415"] = { 415, "application/json; charset=latin1", "{}", "not in UTF-8" },
    ["what is too large with 413"] = { 413, "application/json", '"' .. ("x"):rep(20000) .. '"', "larger" },
  }) do
    it("refuses " .. what, function()
      local response = post(case[2], case[3])
      assert.equal(case[1], response.status)
      assert.matches(case[4], response.body, 1, true)
    end)
  end

  it("leaves other types alone where it is told to", function()
    assert.equal("hello", post("text/plain", "hello", "/pass").body)
    assert.equal("read", post("application/json", "{}", "/pass").body)
  end)

  it("refuses bad options when the script loads", function()
    server.write(s.dir .. "/bad.lua", 'require("tidegate").body_params({ max_params = 0 }) return { routes = {} }')
    assert.matches("max_params: expected an integer", server.command({ "check", s.dir .. "/bad.lua" }).stderr)
  end)
end)

-- A server to stand behind examples/gateway.lua.

local tg = require("tidegate")

local function name(request)
  return "backend " .. request.port
end

--- Who was asked, and with what.
local function hello(request)
  return {
    headers = { ["X-Secret"] = "which version I am" },
    body = {
      from = name(request),
      path = request.path,
      forwarded_for = request.headers["x-forwarded-for"],
      gateway = request.headers["x-gateway"],
      user = request.headers["x-user"],
    },
  }
end

--- Three numbers or as many as are asked for; with a pause before each.
local function numbers(request)
  local pause = tonumber(request.query.pause) or 0
  local count = math.tointeger(request.query.count) or 3
  return {
    headers = { ["Content-Type"] = "application/json" },
    body = tg.generate(function(yield)
      for i = 1, count do
        if pause > 0 then
          tg.sleep(pause)
        end
        yield(i)
      end
    end),
  }
end

return {
  listen = "127.0.0.1:9001",
  routes = {
    { "/health", get = function() return { body = "well\n" } end },
    { "/hello/*rest", get = hello },
    { "/numbers", get = numbers },
    { "/echo", put = function(request) return { body = request.body } end },
  },
}

--- A service: `tidegate run app.lua --watch --dev`, then curl http://127.0.0.1:8080/
local tg = require("tidegate")

local function hello(request)
  return { status = 200, body = ("Hello, %s!\n"):format(request.path_params.name or "world") }
end

--- A sequence is streamed, an element at a time: as JSON, or as what the client accepts.
local function count(request)
  local upto = math.tointeger(request.query.upto) or 10
  return {
    status = 200,
    body = tg.generate(function(yield)
      for n = 1, upto do
        yield({ n = n, square = n * n })
      end
    end),
  }
end

--- Server-Sent Events: one a second, until the client leaves.
local ticks = tg.sse(function(events)
  local n = 0
  while true do
    n = n + 1
    events:send({ event = "tick", id = n, data = { n = n } })
    tg.sleep(1)
  end
end)

--- What is wrong with a request is a clear answer, not an error in the log.
local bad_input = tg.on_error({
  match = { status = 400 },
  handle = function(_, err)
    return { status = 400, body = { error = err.message } }
  end,
})

local function double(request)
  local n = math.tointeger(request.body_params.n)
  if not n then
    tg.error(400, "n: expected an integer")
  end
  return { status = 200, body = { n = n, double = 2 * n } }
end

local service = {
  listen = "127.0.0.1:8080",
  routes = {
    { "/", get = hello },
    { "/hello/:name", get = hello, name = "hello" },
    { "/count", get = count },
    { "/ticks", get = ticks },
    { "/double", post = { bad_input, tg.body_params(), double } },
  },
}

--- Before this script serves, at the start and at each reload: when it fails, the last good one
--- serves on.
function service.check()
  local response = tg.test.response_for(service, "GET", "/")
  assert(response.status == 200, response.error)
end

return service

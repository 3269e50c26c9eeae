-- As many routes and topics as BENCH_ROUTES and BENCH_TOPICS say: what one request costs among them.
local tg = require("tidegate")

local routes, topics = {}, {}
for i = 1, tonumber(os.getenv("BENCH_ROUTES") or 1) do
  routes[i] = { ("/group%d/item%d/:id"):format(i % 100, i), name = "r" .. i, get = function() return { body = "x" } end }
end
for i = 1, tonumber(os.getenv("BENCH_TOPICS") or 1) do
  topics[i] = tg.topic("topic" .. i, { history = 1 })
  topics[i]:publish("first") -- what has a history stays
end
routes[#routes + 1] = { "/publish/:n", get = function(request)
  return { body = topics[tonumber(request.path_params.n)]:publish("x") }
end }

return { limits = { connections = 20000, lua_memory = 2 ^ 31 // 1 | 0 }, routes = routes }

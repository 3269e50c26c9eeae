-- What the benchmark of topics asks tidegate for.
local tg = require("tidegate")

local room = tg.topic("room", { heartbeat = 0 })

return {
  limits = { connections = 20000 },
  routes = {
    { "/subscribe", get = function() return { body = room } end },
    { "/publish", post = function(request) return { body = room:publish(request.body:all()) } end },
  },
}

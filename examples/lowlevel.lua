-- Responses written by hand, from any stage, while the chain goes on.  Try:
-- curl -N http://127.0.0.1:8080/events
-- curl -N http://127.0.0.1:8080/progress
-- curl -N http://127.0.0.1:8080/early
-- curl http://127.0.0.1:8080/plain

local tg = require("tidegate")

--- Logs how the exchange ended: it sees what a handler left in ctx, and whether anything was sent.
local timing = {
  name = "timing",
  enter = function(ctx)
    ctx.began = tg.monotonic()
  end,
  leave = function(ctx)
    local took = tg.monotonic() - ctx.began
    tg.log.info(("%s: %.2f s, by hand: %s"):format(ctx.request.path, took, ctx:response_sent()))
  end,
}

--- Server-sent events without any help: the head at once, then events over time.
local function events(_, ctx)
  ctx:write_response({
    status = 200,
    headers = { ["Content-Type"] = "text/event-stream", ["Cache-Control"] = "no-cache" },
  })
  for i = 1, 4 do
    tg.sleep(0.25)
    ctx:write_response_body(("id: %d\ndata: tick %d\n\n"):format(i, i))
  end
end

--- Parts of different types, one after the other.
local function progress(_, ctx)
  ctx:write_response({ status = 200, headers = { ["Content-Type"] = "text/plain" } })
  ctx:write_response_body("beginning\n")
  ctx:write_response_body(function(out)
    for i = 1, 3 do
      tg.sleep(0.1)
      out:write(i * 25, " %\n")
    end
  end)
  ctx:write_response_body(tg.seq(("almost there"):gmatch("%a+")))
  ctx:write_response_body("done\n")
end

--- An interceptor may begin the response, and the handler go on with it.
local greeting = {
  name = "greeting",
  enter = function(ctx)
    ctx:write_response({ status = 200, headers = { ["Content-Type"] = "text/plain" } })
    ctx:write_response_body("hello, ")
    ctx:flush()
  end,
}

local function early(_, ctx)
  tg.sleep(0.2)
  ctx:write_response_body("world\n")
end

return {
  listen = "127.0.0.1:8080",
  interceptors = { timing },
  routes = {
    { "/events", get = events },
    { "/progress", get = progress },
    { "/early", interceptors = { greeting }, get = early },
    {
      "/plain",
      get = function()
        return { body = "an ordinary response\n" }
      end,
    },
  },
}

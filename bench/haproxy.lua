-- What HAProxy's Lua does with the benchmark's requests.
local core = _G.core

core.register_service("small", "http", function(applet)
  applet:set_status(200)
  applet:add_header("content-type", "text/plain")
  applet:add_header("content-length", "12")
  applet:start_response()
  applet:send("hello world\n")
end)

core.register_service("stream", "http", function(applet)
  local size = tonumber(applet.qs:match("size=(%d+)"))
  local text, count = ("x"):rep(size), tonumber(applet.qs:match("bytes=(%d+)")) // size
  applet:set_status(200)
  applet:start_response()
  for _ = 1, count do
    applet:send(text)
  end
end)

--- Every key that a script may write in its service table, by the kind of table it stands in.

local METHODS = { "any", "delete", "get", "head", "options", "patch", "post", "put", "trace" }

return {
  methods = METHODS,
  service = {
    "check", "interceptors", "limits", "listen", "log", "not_found", "on_start", "on_stop",
    "routes", "tls", "workers",
  },
  route = { "constraints", "host", "interceptors", "name", table.unpack(METHODS) },
  log = { "format", "headers" },
  interceptor = { "enter", "error", "handler", "leave", "name" },
  tls = { "cert", "key" },
}

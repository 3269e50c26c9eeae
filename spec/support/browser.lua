-- browser.lua - Chromium, headless, driven through ChromeDriver (W3C WebDriver).
--
--   local b <close> = browser.start()
--   b:go("http://127.0.0.1:8080/")
--   b:run("return document.title")
local cjson = require("cjson")
local harness = require("harness")
local raw = require("raw")
local server = require("server")

local PATIENCE = 60 -- seconds, for a browser on a loaded machine

local Browser = {}
Browser.__index = Browser

local browser = {}

local function ask(port, method, path, body)
  local text = type(body) == "table" and cjson.encode(body) or body or ""
  local response, why = raw.request(port, ("%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    .. "Content-Length: %d\r\nConnection: close\r\n\r\n%s"):format(method, path, #text, text), PATIENCE)
  if not response then error(("ChromeDriver: %s %s: %s"):format(method, path, why), 3) end
  local value = cjson.decode(response.body).value
  if response.status ~= 200 then
    error(("ChromeDriver: %s %s: %s: %s"):format(method, path, value.error, value.message:match("[^\n]*")), 3)
  end
  return value
end

local ARGUMENTS = {
  "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions",
  "--no-first-run", "--no-proxy-server", "--disable-background-networking", "--disable-sync",
  "--disable-component-update", "--disable-default-apps", "--disable-background-timer-throttling",
  "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows",
}

-- A browser with one empty window.
function browser.start()
  local self = setmetatable({ dir = server.folder() }, Browser)
  self.driver = assert(harness.spawn({ "chromedriver", "--port=0" }, {
    stdout = "pipe", stderr = "null", env = { HOME = self.dir, TMPDIR = self.dir, LD_PRELOAD = false },
  }), "chromedriver is missing: .ci/deps test installs chromium and chromium-driver")
  repeat
    local line = self.driver:read_line("stdout", PATIENCE)
    if not line then
      self:close()
      error("chromedriver does not start", 2)
    end
    self.port = tonumber(line:match("started successfully on port (%d+)"))
  until self.port
  local session = ask(self.port, "POST", "/session", { capabilities = { alwaysMatch = {
    browserName = "chrome",
    ["goog:chromeOptions"] = { args = ARGUMENTS },
  } } })
  self.session = "/session/" .. session.sessionId
  return self
end

function Browser:ask(method, path, body) return ask(self.port, method, self.session .. path, body) end

-- Loads the page, in the window that is current.
function Browser:go(url) self:ask("POST", "/url", { url = url }) end

-- The result of a function's body in JavaScript, given the other arguments; null is cjson.null.
function Browser:run(script, ...)
  local args = { ... }
  for i, value in ipairs(args) do args[i] = cjson.encode(value) end
  return self:ask("POST", "/execute/sync", ('{"script":%s,"args":[%s]}'):format(cjson.encode(script), table.concat(args, ",")))
end

-- The result of run(), once it is neither false nor null.
function Browser:eventually(script, ...)
  local deadline = harness.now() + PATIENCE * 1000
  while true do
    local value = self:run(script, ...)
    if value and value ~= cjson.null then return value end
    if harness.now() > deadline then error("still not so in the browser: " .. script, 2) end
    harness.sleep(0.02)
  end
end

-- Handles of windows: use() makes one current.
function Browser:window() return self:ask("GET", "/window") end
function Browser:new_window() return self:ask("POST", "/window/new", { type = "tab" }).handle end
function Browser:use(window) self:ask("POST", "/window", { handle = window }) end

local KEY = "element-6066-11e4-a52e-4f735466cecf" -- W3C WebDriver, 12

local function find(self, selector)
  return self:ask("POST", "/element", { using = "css selector", value = selector })[KEY]
end

function Browser:type(selector, text)
  self:ask("POST", "/element/" .. find(self, selector) .. "/value", { text = text })
end

function Browser:click(selector) self:ask("POST", "/element/" .. find(self, selector) .. "/click", {}) end

function Browser:close()
  if self.session then pcall(self.ask, self, "DELETE", "") end
  self.session = nil
  if self.driver then
    self.driver:kill("TERM")
    self.driver:wait(10)
    self.driver:close()
    server.remove_folder(self.dir)
  end
  self.driver = nil
end
function Browser:__close() self:close() end

return browser

-- What wrk asks of /v1/certify-score: each request another claim, as games make them.
local number = 0

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

request = function()
  number = number + 1
  return wrk.format(nil, nil, nil, string.format('{"score":%d.5,"subject":"player-%07d"}', number % 100000, number))
end

-- Health of a KServe InferenceService, as Argo CD asks for it: `obj` in, a table with status and message out.
-- Written by scripts/generate into the manifests beside this file.
local health = {status = "Progressing", message = "Waiting for KServe"}
local status = obj.status or {}
local observed = status.observedGeneration
if observed ~= nil and obj.metadata.generation ~= nil and observed ~= obj.metadata.generation then
  return health
end
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local function is(name, value)
  return conditions[name] ~= nil and conditions[name].status == value
end
local model = status.modelStatus or {}
if model.transitionStatus == "InvalidSpec" or model.transitionStatus == "BlockedByFailedLoad" then
  local failure = model.lastFailureInfo or {}
  return {status = "Degraded", message = failure.message or model.transitionStatus}
end
local predictor = conditions.PredictorReady or {}
local said = predictor.message or ""
if predictor.reason == "InvalidGPUAllocation" or string.find(said, "has timed out progressing", 1, true) then
  return {status = "Degraded", message = said}
end
if is("Ready", "True") then
  return {status = "Healthy", message = "It serves"}
end
-- KServe 0.16 to 0.19 leave a service over several nodes at Unknown (kserve#5703); the message tells that the
-- Deployments of head and workers are complete.
local over_nodes = ((obj.spec or {}).predictor or {}).workerSpec ~= nil
local _, complete = string.gsub(said, "has successfully progressed", "")
if over_nodes and is("PredictorReady", "Unknown") and complete == 2 and not is("IngressReady", "False") then
  return {status = "Healthy", message = "Head and workers are complete"}
end
if said ~= "" then
  health.message = said
end
return health

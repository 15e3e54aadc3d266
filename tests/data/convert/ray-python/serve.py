import os
from ray import serve
from vllm import LLM, SamplingParams

MODEL = "meta-llama/Llama-3.1-8B-Instruct"


@serve.deployment(num_replicas=2, ray_actor_options={"num_gpus": 4})
class LLMDeployment:
    def __init__(self):
        self.llm = LLM(model=MODEL, tensor_parallel_size=2, pipeline_parallel_size=2, gpu_memory_utilization=0.9)

    async def __call__(self, request):
        body = await request.json()
        return self.llm.generate(body["prompt"], SamplingParams(max_tokens=int(os.environ.get("MAX", "64"))))


app = LLMDeployment.bind()

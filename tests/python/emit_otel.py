"""One agent session through the real OpenTelemetry SDK and its GenAI helpers.

usage: emit_otel.py grpc|http ENDPOINT CONVERSATION
"""

import os
import sys

# Both are read when the helpers are imported.
os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_AND_EVENT"
os.environ["OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT"] = "true"

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.util.genai.handler import TelemetryHandler
from opentelemetry.util.genai.types import InputMessage, OutputMessage, TextPart, ToolCallRequestPart, ToolCallResponsePart


def exporters(protocol, endpoint):
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(endpoint=endpoint, insecure=True), OTLPLogExporter(endpoint=endpoint, insecure=True)
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    base = f"http://{endpoint}"
    return (
        OTLPSpanExporter(endpoint=f"{base}/v1/traces", compression=Compression.Gzip),
        OTLPLogExporter(endpoint=f"{base}/v1/logs", compression=Compression.Gzip),
    )


def main():
    protocol, endpoint, conversation = sys.argv[1:]
    span_exporter, log_exporter = exporters(protocol, endpoint)
    resource = Resource.create(
        {"service.name": "travel-desk", "service.version": "1.4.0", "deployment.environment.name": "staging"}
    )
    tracing, logging = TracerProvider(resource=resource), LoggerProvider(resource=resource)
    tracing.add_span_processor(BatchSpanProcessor(span_exporter))
    logging.add_log_record_processor(BatchLogRecordProcessor(log_exporter))
    handler = TelemetryHandler(
        tracer_provider=tracing, logger_provider=logging, instrumentation_scope_name="martingale.tests"
    )

    question = InputMessage(role="user", parts=[TextPart(content="What is the weather in Oslo?")])
    asked = ToolCallRequestPart(arguments={"city": "Oslo"}, name="get_weather", id="call-1")
    answered = ToolCallResponsePart(response={"celsius": 7}, id="call-1")
    with handler.invoke_local_agent(agent_name="weather", conversation_id=conversation) as agent:
        agent.agent_id = "weather-agent"
        with handler.inference("openai", request_model="gpt-4o", conversation_id=conversation) as chat:
            chat.input_messages = [question]
            chat.output_messages = [OutputMessage(role="assistant", parts=[asked], finish_reason="tool_calls")]
            chat.input_tokens, chat.output_tokens = 21, 9
        with handler.tool("get_weather", tool_type="function") as tool:
            tool.tool_call_id = "call-1"
            tool.arguments = {"city": "Oslo"}
            tool.tool_result = {"celsius": 7}
        with handler.inference("openai", request_model="gpt-4o", conversation_id=conversation) as chat:
            chat.input_messages = [
                question,
                InputMessage(role="assistant", parts=[asked]),
                InputMessage(role="tool", parts=[answered]),
            ]
            chat.output_messages = [
                OutputMessage(role="assistant", parts=[TextPart(content="7 degrees in Oslo.")], finish_reason="stop")
            ]
            chat.input_tokens, chat.output_tokens = 40, 6

    assert tracing.force_flush() and logging.force_flush(), "not everything was exported"
    tracing.shutdown()
    logging.shutdown()


main()

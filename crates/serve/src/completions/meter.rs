//! Metrics under the names of vLLM, so that its dashboards fit.

use std::sync::Mutex;
use std::time::Duration;

use lm::{Completion, EngineStats, Finish};
use metrics::{
    counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
    with_local_recorder,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// Upper ends of the histograms, in seconds.
const BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// Counters of one server.
pub(super) struct Meter {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// One scrape at a time, so that no total goes backwards.
    scrape: Mutex<()>,
}

/// How long an answer took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Until the first text.
    pub(super) first: Duration,
    /// Until the end.
    pub(super) whole: Duration,
}

impl Meter {
    pub(super) fn new(model: &str) -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&BUCKETS)
            .expect("the list of buckets is not empty")
            .add_global_label("model_name", model)
            .build_recorder();
        with_local_recorder(&recorder, || {
            describe_gauge!("vllm:num_requests_running", "Requests under way.");
            describe_gauge!("vllm:num_requests_waiting", "Requests that wait.");
            describe_gauge!("vllm:kv_cache_usage_perc", "Share of the pages in use, 1 is all.");
            describe_counter!(
                "vllm:prefix_cache_queries_total",
                "Tokens of prompts looked up among what is known."
            );
            describe_counter!("vllm:prefix_cache_hits_total", "Tokens of prompts that were known.");
            describe_counter!("vllm:prompt_tokens_total", "Tokens of answered prompts.");
            describe_counter!("vllm:generation_tokens_total", "Tokens of answers.");
            describe_counter!("vllm:request_success_total", "Answers by the reason of their end.");
            describe_histogram!("vllm:time_to_first_token_seconds", "Until the first text.");
            describe_histogram!(
                "vllm:inter_token_latency_seconds",
                "Between tokens, mean of an answer."
            );
            describe_histogram!("vllm:e2e_request_latency_seconds", "Until the end of the answer.");
        });
        let handle = recorder.handle();
        Self { recorder, handle, scrape: Mutex::new(()) }
    }

    /// All metrics in the text format of Prometheus.
    pub(super) fn render(&self, stats: &EngineStats) -> String {
        let _one = self.scrape.lock().expect("no panic happens under this lock");
        with_local_recorder(&self.recorder, || {
            gauge!("vllm:num_requests_running").set(stats.running as f64);
            gauge!("vllm:num_requests_waiting").set(stats.waiting as f64);
            gauge!("vllm:kv_cache_usage_perc")
                .set(stats.kv_pages as f64 / stats.kv_pages_limit.max(1) as f64);
            counter!("vllm:prefix_cache_queries_total").absolute(stats.prefix_queries);
            counter!("vllm:prefix_cache_hits_total").absolute(stats.prefix_hits);
        });
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// Counts an answer.
    pub(super) fn answered(&self, done: &Completion, times: Times) {
        let reason = finish_reason(done.finish);
        with_local_recorder(&self.recorder, || {
            counter!("vllm:prompt_tokens_total").increment(done.prompt_tokens as u64);
            counter!("vllm:generation_tokens_total").increment(done.completion_tokens as u64);
            counter!("vllm:request_success_total", "finished_reason" => reason).increment(1);
            histogram!("vllm:time_to_first_token_seconds").record(times.first);
            histogram!("vllm:e2e_request_latency_seconds").record(times.whole);
            if done.completion_tokens > 1 {
                let between = times.whole.saturating_sub(times.first).as_secs_f64();
                histogram!("vllm:inter_token_latency_seconds")
                    .record(between / (done.completion_tokens - 1) as f64);
            }
        });
    }
}

/// The name of an end in replies and metrics.
pub(super) fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    }
}

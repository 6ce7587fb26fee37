//! Agents, a group of detector processes, and everything that goes wrong, until the faults stop.

use std::sync::Arc;
use std::time::Duration;

use martingale_detector::{CONSUMER, Config, Health, Watched};
use martingale_detector_core::{Rules, StateLimits};
use martingale_platform::clock::Clock;
use martingale_platform::config::Span;
use martingale_platform::log::{Appended, Cleanup, Log, MemoryLog, Partition, TopicSpec, blob};
use martingale_platform::shutdown::{self, Trigger};
use martingale_schemas::{Limits, topics};
use prometheus::Registry;
use tokio::task::JoinHandle;

use crate::invariants::{self, Invariant, Tally, Violation, Witness};
use crate::learnt::learnt;
use crate::member::{Breakage, Group, Member, Trouble};
use crate::random::Random;
use crate::world::{self, Envelope, World};

const MEMBERS: usize = 2;
/// 2026-01-01.
const BEGIN_MICROS: i64 = 1_767_225_600_000_000;
/// An hour.
const LEAP_MICROS: i64 = 3_600_000_000;
/// Longest the group may take to catch up, in simulated time.
const CATCH_UP: Duration = Duration::from_secs(300);

/// What a seed chooses before it begins. Each run has its own mix, so that faults meet in different company.
#[derive(Clone, Debug)]
struct Plan {
    ticks: u64,
    partitions: u32,
    /// The log drops a record it holds already, as the embedded one does; otherwise it keeps both, as Kafka does.
    identities: bool,
    trouble: Trouble,
    kills: u64,
    rebalances: u64,
    /// Leaps of the log's time.
    leaps: u64,
    /// Sessions kept in the tree of a run: fewer than there are, where none is forgotten for its silence. What is
    /// forgotten in both ways is nobody's ancestor any more.
    run_sessions_max: usize,
    config: Config,
}

impl Plan {
    fn draw(random: &mut Random) -> Self {
        let identities = random.per_mille(600);
        let often = |random: &mut Random, most| if random.per_mille(700) { random.below(most) } else { 0 };
        let memory = usize::try_from(random.between(1, 12)).unwrap_or(1);
        Self {
            ticks: random.between(60, 200),
            partitions: u32::try_from(random.between(1, 4)).unwrap_or(1),
            identities,
            trouble: Trouble { commits: often(random, 300), reads: often(random, 30) },
            kills: often(random, 80),
            rebalances: often(random, 120),
            leaps: often(random, 60),
            run_sessions_max: if identities { 512 } else { usize::try_from(random.between(2, 12)).unwrap_or(2) },
            config: Config {
                batch_steps_max: usize::try_from(random.between(1, 24)).unwrap_or(1),
                batch_bytes_max: usize::try_from(random.between(1, 8_000)).unwrap_or(1),
                sessions_in_memory_max: memory,
                // Where the log keeps duplicates, a step that is sent again after its session was forgotten is judged anew:
                // none is forgotten there.
                session_idle: Span::from_millis(if identities { 3_600_000 } else { 30 * 86_400_000 }),
            },
        }
    }
}

/// One process.
struct Process {
    member: Arc<Member>,
    registry: Registry,
    task: JoinHandle<Result<(), martingale_detector::Error>>,
    stop: Trigger,
}

struct Simulation {
    random: Random,
    plan: Plan,
    clock: Clock,
    log: Arc<MemoryLog>,
    group: Arc<Group>,
    rules: Arc<Rules>,
    breakage: Option<Breakage>,
    processes: Vec<Process>,
    world: World,
    witness: Witness,
}

/// Runs one seed.
///
/// # Errors
/// The first invariant that does not hold.
pub async fn simulate(seed: u64, breakage: Option<Breakage>) -> Result<Tally, Violation> {
    let mut it = Simulation::new(seed, breakage);
    for (id, (_, stored)) in learnt() {
        let put = blob::put(&*it.log, topics::BASELINES, &id.to_string(), stored).await;
        put.map_err(|it| Invariant::L1.violated(it))?;
    }
    for _ in 0..it.plan.ticks {
        it.tick().await?;
    }
    it.heal().await?;
    it.stop().await?;
    invariants::check(&*it.log, &it.rules, &it.witness).await
}

/// The rules the agents run into.
///
/// # Panics
/// When the policies of the simulation cannot be read.
#[must_use]
pub fn rules(run_sessions_max: usize) -> Arc<Rules> {
    match Rules::load(&[("policies.yaml", world::POLICIES)]) {
        Ok(rules) => Arc::new(rules.with_limits(StateLimits { run_sessions_max, ..StateLimits::DEFAULT })),
        Err(errors) => panic!("policies of the simulation: {errors:?}"),
    }
}

impl Simulation {
    fn new(seed: u64, breakage: Option<Breakage>) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random);
        let clock = Clock::manual(BEGIN_MICROS);
        let topics = topics::ALL.map(|topic| TopicSpec { topic, cleanup: Cleanup::of(topics::is_compacted(topic)) });
        let log = MemoryLog::new(plan.partitions, &topics, clock.clone());
        log.faults(|it| it.duplicate_appends = !plan.identities);
        let group = Arc::new(Group::default());
        for partition in 0..plan.partitions {
            group.give(Partition(partition), random.index(MEMBERS));
        }
        let world = World::new(random.fork(), clock.clone(), learnt().keys().copied().collect());
        let witness = Witness {
            identities: plan.identities,
            idle_micros: plan.config.session_idle.as_micros(),
            ..Witness::default()
        };
        let (rules, processes) = (rules(plan.run_sessions_max), Vec::new());
        let mut it = Self { random, plan, clock, log, group, rules, breakage, processes, world, witness };
        for number in 0..MEMBERS {
            let process = it.start(number);
            it.processes.push(process);
        }
        it
    }

    fn start(&mut self, number: usize) -> Process {
        let member = Member::new(&self.log, &self.group, number, self.random.fork(), self.breakage);
        member.trouble(self.plan.trouble);
        let registry = Registry::new();
        let (stop, shutdown) = shutdown::channel();
        let (config, log, rules) = (self.plan.config.clone(), Arc::clone(&member), Arc::clone(&self.rules));
        let task = tokio::spawn({
            let registry = registry.clone();
            async move {
                let watched = Watched { registry: &registry, health: Health::default() };
                martingale_detector::run(config, &Limits::DEFAULT, log, rules, watched, shutdown).await
            }
        });
        Process { member, registry, task, stop }
    }

    async fn tick(&mut self) -> Result<(), Violation> {
        if self.random.per_mille(700) {
            let (new, old) = (self.random.between(1, 15), self.random.below(4));
            let mut steps = self.world.steps(new);
            steps.extend(self.world.resent(old));
            self.produce(steps).await?;
        }
        if self.random.per_mille(120) {
            self.order().await?;
        }
        if self.random.per_mille(20) {
            let garbage = self.world.garbage();
            self.append(vec![garbage]).await?;
            self.witness.garbage += 1;
        }
        let leap = if self.random.per_mille(self.plan.leaps) { LEAP_MICROS } else { 0 };
        let passed = self.random.below(120_000_000);
        self.clock.advance(leap + i64::try_from(passed).unwrap_or(0));
        if self.random.per_mille(self.plan.rebalances) {
            let partition = Partition(u32::try_from(self.random.below(u64::from(self.plan.partitions))).unwrap_or(0));
            self.group.give(partition, self.random.index(MEMBERS));
        }
        for at in 0..MEMBERS {
            if self.random.per_mille(300) {
                self.processes[at].member.tell();
            }
            if self.random.per_mille(self.plan.kills) {
                self.processes[at].member.kill();
                self.processes[at].task.abort();
                self.processes[at] = self.start(at);
            }
        }
        self.pass().await;
        self.watch()
    }

    /// Lets the processes work for a while, seldom until they have nothing to do.
    async fn pass(&mut self) {
        for _ in 0..self.random.below(60) {
            tokio::task::yield_now().await;
        }
        if self.random.per_mille(300) {
            tokio::time::sleep(Duration::from_millis(self.random.between(1, 500))).await;
        }
    }

    /// What can be seen while it runs.
    fn watch(&self) -> Result<(), Violation> {
        for process in &self.processes {
            let premature = process.member.premature();
            Invariant::D3.check(premature.is_empty(), || format!("verdicts without a step: {premature:?}"))?;
            Invariant::L2.check(!process.task.is_finished(), || "a process ended by itself".to_owned())?;
            let metrics =
                prometheus::TextEncoder::new().encode_to_string(&process.registry.gather()).unwrap_or_default();
            let sessions = metrics.lines().filter(|it| it.starts_with("martingale_detector_sessions_in_memory{"));
            for line in sessions {
                let now: usize = line.split(' ').next_back().and_then(|it| it.parse().ok()).unwrap_or(usize::MAX);
                let max = self.plan.config.sessions_in_memory_max;
                Invariant::D5.check(now <= max, || format!("{now} sessions in memory, {max} allowed"))?;
            }
        }
        Ok(())
    }

    async fn produce(&mut self, steps: Vec<Envelope>) -> Result<(), Violation> {
        self.witness.sent.extend(steps.iter().map(|it| it.id));
        let records: Vec<_> = steps.iter().map(Envelope::append).collect();
        let n = records.len();
        let appended = self.append(records).await?;
        Invariant::I1.check(appended.len() == n, || format!("{n} steps sent, {} outcomes", appended.len()))
    }

    /// Appends as a producer does: until there is an answer.
    async fn append(&mut self, records: Vec<martingale_platform::log::Append>) -> Result<Vec<Appended>, Violation> {
        if self.random.per_mille(50) {
            self.log.faults(|it| it.fail_next_append = true);
        }
        loop {
            match self.log.append(records.clone()).await {
                Ok(appended) => return Ok(appended),
                Err(error) if error.is_transient() => tokio::task::yield_now().await,
                Err(error) => return Err(Invariant::I1.violated(error)),
            }
        }
    }

    async fn order(&mut self) -> Result<(), Violation> {
        let order = self.world.order();
        self.append(world::copies(&order, self.plan.partitions)).await?;
        let mut ends = Vec::new();
        for partition in (0..self.plan.partitions).map(Partition) {
            let bounds = self.log.bounds(topics::STEPS, partition).await;
            ends.push(bounds.map_err(|it| Invariant::L1.violated(it))?.end);
        }
        self.witness.ordered.insert(order.control_id, ends);
        Ok(())
    }

    /// Faults stop; everything that was held back arrives; the group catches up.
    async fn heal(&mut self) -> Result<(), Violation> {
        for process in &self.processes {
            process.member.trouble(Trouble::default());
            process.member.tell();
        }
        let rest = self.world.rest();
        self.produce(rest).await?;
        let limit = tokio::time::Instant::now() + CATCH_UP;
        while let Some(lag) = self.lag().await? {
            Invariant::L1.check(tokio::time::Instant::now() < limit, || format!("after {CATCH_UP:?}: {lag}"))?;
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.watch()?;
        }
        // Time for the sweep of the last tick.
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.watch()
    }

    async fn lag(&self) -> Result<Option<String>, Violation> {
        for partition in (0..self.plan.partitions).map(Partition) {
            for topic in [topics::STEPS, topics::CONTROLS] {
                let end = self.log.bounds(topic, partition).await.map_err(|it| Invariant::L1.violated(it))?.end;
                let next = self.log.committed(CONSUMER, topic, partition).await;
                let next = next.map_err(|it| Invariant::L1.violated(it))?.unwrap_or_default();
                if next < end {
                    return Ok(Some(format!("{topic} of partition {partition} is handled to {next} of {end}")));
                }
            }
        }
        Ok(None)
    }

    async fn stop(&mut self) -> Result<(), Violation> {
        for process in self.processes.drain(..) {
            process.stop.stop();
            match process.task.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(Invariant::L2.violated(error)),
                Err(error) => return Err(Invariant::L2.violated(error)),
            }
        }
        Ok(())
    }
}

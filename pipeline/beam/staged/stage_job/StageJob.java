package breastdensity;

import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.apache.flink.api.common.RuntimeExecutionMode;
import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.runtime.execution.SuppressRestartsException;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;

/**
 * One fused stage of Beam as a Flink job: each task asks the pool of Python workers beside its TaskManager.
 *
 * <p>Arguments: the stage's folder, the number of its tasks, a name. Nothing passes through Flink but numbers; see
 * task_pool.py.
 */
public final class StageJob {
    private StageJob() {}

    public static void main(String[] arguments) throws Exception {
        int tasks = Integer.parseInt(arguments[1]);
        Configuration settings = new Configuration();
        settings.set(RestartStrategyOptions.RESTART_STRATEGY, "fixed-delay");
        // Counted for the whole job: a lost TaskManager takes as many tasks with it as it has slots.
        settings.set(RestartStrategyOptions.RESTART_STRATEGY_FIXED_DELAY_ATTEMPTS, 20 + tasks);
        settings.set(RestartStrategyOptions.RESTART_STRATEGY_FIXED_DELAY_DELAY, Duration.ofSeconds(1));
        StreamExecutionEnvironment flink = StreamExecutionEnvironment.getExecutionEnvironment(settings);
        flink.setRuntimeMode(RuntimeExecutionMode.BATCH);
        flink.setParallelism(tasks);
        flink.fromSequence(0, tasks - 1).map(new PoolTask(arguments[0])).sinkTo(new DiscardingSink<>());
        flink.execute(arguments[2]);
    }

    /** Has the pool do a task. */
    static final class PoolTask implements MapFunction<Long, Long> {
        private static final long serialVersionUID = 1L;
        private static final String VARIABLE = "BREAST_DENSITY_TASK_POOL";
        private static final int ATTEMPTS = 3;
        /** A pool that starts beside its TaskManager imports TensorFlow first. */
        private static final Duration PATIENCE = Duration.ofSeconds(120);
        private static final Duration PAUSE = Duration.ofMillis(200);

        private final String folder;

        PoolTask(String folder) {
            this.folder = folder;
        }

        @Override
        public Long map(Long number) throws IOException, InterruptedException {
            String answer = "";
            for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
                answer = ask(number);
                if (answer.equals("done")) {
                    return number;
                }
                if (answer.isEmpty()) {
                    throw new IOException("the pool's process died"); // Flink begins the task anew
                }
            }
            // The same error again and again is no fault of a machine.
            throw new SuppressRestartsException(new RuntimeException(answer));
        }

        private String ask(long number) throws IOException, InterruptedException {
            try (SocketChannel connection = connect()) {
                ByteBuffer request = ByteBuffer.wrap((folder + "\t" + number + "\n").getBytes(StandardCharsets.UTF_8));
                while (request.hasRemaining()) {
                    connection.write(request);
                }
                return new String(Channels.newInputStream(connection).readAllBytes(), StandardCharsets.UTF_8);
            }
        }

        /** Waits for the pool: a task that failed meanwhile would use up what the job has of restarts. */
        private static SocketChannel connect() throws IOException, InterruptedException {
            String pool = System.getenv(VARIABLE);
            if (pool == null) {
                throw new IOException(VARIABLE + " of the TaskManager names no pool of Python workers");
            }
            long until = System.nanoTime() + PATIENCE.toNanos();
            while (true) {
                SocketChannel connection = SocketChannel.open(StandardProtocolFamily.UNIX);
                try {
                    connection.connect(UnixDomainSocketAddress.of(pool));
                    return connection;
                } catch (IOException error) {
                    connection.close();
                    if (Thread.currentThread().isInterrupted()) {
                        throw error; // the task was cancelled
                    }
                    if (System.nanoTime() > until) {
                        throw new IOException("no pool of Python workers takes tasks at " + pool, error);
                    }
                }
                Thread.sleep(PAUSE.toMillis());
            }
        }
    }
}

package godwit.tests;

import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import org.eclipse.californium.elements.util.ExecutorsUtil;
import org.eclipse.californium.elements.util.ProtocolScheduledExecutorService;

/** Threads that all clients share. A client that waits for an answer holds one of `clients`, none of `coap`. */
final class Threads {
    final ScheduledExecutorService clients = Executors.newScheduledThreadPool(64, Threads::daemon);
    final ProtocolScheduledExecutorService coap =
            ExecutorsUtil.newProtocolScheduledThreadPool(4, Threads::daemon);

    static Thread daemon(Runnable task) {
        Thread thread = new Thread(task);
        thread.setDaemon(true);
        return thread;
    }
}
